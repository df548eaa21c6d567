"""Ways out through files, processes and the network; each with the layer that contains it, and without."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from runnerd.sandbox.box import Box, open_box
from runnerd.sandbox.host import MASKED, Host
from runnerd.sandbox.spec import BoxSpec, Launch, Limits
from tests.sandbox.running import ENV, finish, run

from .conftest import Attack
from .layers import handing_down, showing, without

pytestmark = pytest.mark.attack


async def test_read_only_root(host: Host, attack: Attack, spec: BoxSpec) -> None:
    bare = replace(spec, landlock=())
    writable = without(host, spec, "read-only root")
    assert await attack("write-root", bare) == "EROFS"
    assert await attack("write-root", bare, writable) == "0"


async def test_landlock_holds_alone(host: Host, attack: Attack, spec: BoxSpec) -> None:
    writable = without(host, spec, "read-only root")
    assert await attack("write-root", spec, writable) == "EACCES"
    assert await attack("write-root", replace(spec, landlock=()), writable) == "0"


async def script(box: Box, *argv: str) -> str:
    """What a program says on stdout until it ends."""
    with trio.fail_after(30):
        return (await finish(await box.start(Launch(argv, ENV, "pipes"))))[0]


async def test_init_cannot_be_killed_or_stopped(host: Host) -> None:
    """The box goes on, and takes the next program. The control: the same signals end a process that is not PID 1."""
    spec = host.spec(BoxSpec().limits)
    async with open_box(host, spec) as box:
        await script(box, "sh", "-c", "kill -KILL 1; kill -STOP 1; kill -TERM -- -1; exit 0")
        assert await script(box, "echo", "alive") == "alive\n"
        assert await script(box, "sh", "-c", "sleep 1000 & kill -STOP $!; kill -KILL $!; wait $!; echo $?") == "137\n"


RESCHEDULE = """
import errno, os, resource, sys
def attempt(what, *arguments):
    try:
        what(*arguments)
        print("0")
    except OSError as problem:
        print(errno.errorcode[problem.errno])
attempt(os.sched_setscheduler, 1, os.SCHED_FIFO, os.sched_param(1))
attempt(os.setpriority, os.PRIO_PROCESS, 1, 19)
attempt(os.setpriority, os.PRIO_USER, os.getuid(), 19)
attempt(os.sched_setscheduler, 1, os.SCHED_IDLE, os.sched_param(0))
attempt(os.sched_setaffinity, 1, {min(os.sched_getaffinity(0))})
attempt(resource.prlimit, 1, resource.RLIMIT_CPU, (1, 1))
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        os.closerange(0, 3)
        while True: pass
"""
"""Put init last in every queue, and fill the queue of the only processor that it may use: with so many programs."""


async def test_init_cannot_be_rescheduled(host: Host) -> None:
    """It starts the next program, and dies when told. The control: without the filters it is put last of all that
    runs, which slows that box alone (by few, so that it answers all the same): another one starts beside it, and its
    own end comes as it should."""
    spec = host.spec(Limits(cpu=0))
    async with open_box(host, spec) as box:
        assert (await script(box, "python3", "-c", RESCHEDULE, "40")).split() == ["EPERM"] * 6
        assert await script(box, "echo", "alive") == "alive\n"
        init, how = scheduling(box)
        assert how == (os.SCHED_OTHER, os.nice(0))
    assert not init.exists()
    async with open_box(host, replace(spec, filters=())) as box, open_box(host, spec) as other:
        assert (await script(box, "python3", "-c", RESCHEDULE, "10")).split() == ["EPERM", *["0"] * 5]
        assert await script(box, "echo", "late") == "late\n"
        assert await script(other, "echo", "alive") == "alive\n"
        init, how = scheduling(box)
        assert how == (os.SCHED_IDLE, 19)
    assert not init.exists()


def scheduling(box: Box) -> tuple[Path, tuple[int, int]]:
    """Init's folder in the host's /proc; its policy and nice value, looked at from outside."""
    assert box.handles is not None
    init = box.handles.init
    return Path(f"/proc/{init}"), (os.sched_getscheduler(init), os.getpriority(os.PRIO_PROCESS, init))


async def test_init_keeps_its_secrets(attack: Attack) -> None:
    assert await attack("read-init-environ") == "EACCES"


async def test_no_process_of_the_host_is_seen(host: Host, spec: BoxSpec) -> None:
    count = ("sh", "-c", "ls -d /proc/[0-9]* | wc -l")
    assert int((await run(host, *count, spec=spec)).stdout) < 10
    shown = without(host, spec, "own /proc")
    # The watcher looks at a box through its /proc: in this one it would find the host's processes, and end it.
    unlimited = Limits(memory=1 << 50, processes=10_000, cpu=0)
    seen = await run(host, "ls", "/proc", spec=replace(spec, limits=unlimited, landlock=(), filters=()), recipe=shown)
    assert str(os.getpid()) in seen.stdout.split()


@pytest.mark.parametrize("path", ["/root", "/home", "/var", "/run", "/sys", "/boot", "/etc/shadow", "/etc/ssh"])
async def test_nothing_of_the_host_is_there(host: Host, path: str) -> None:
    assert "No such file" in (await run(host, "ls", "-d", path)).stderr


@pytest.mark.parametrize("path", ["/sys", "/home", "/root"])
async def test_what_would_be_there_if_it_were_shown(host: Host, spec: BoxSpec, tmp_path: Path, path: str) -> None:
    """The same box with one folder of the host more; the box's uid must be able to reach that."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(path) if path == "/sys" else Path(name)
        folder.chmod(0o755) if path != "/sys" else None
        seen = "kernel" if path == "/sys" else "hosts-own"
        if path != "/sys":
            (folder / seen).write_text("secret")
        look = ("sh", "-c", f"ls {path}; cat {path}/hosts-own 2>/dev/null; true")
        assert seen not in (await run(host, *look, spec=spec)).stdout
        shown = await run(host, *look, spec=spec, recipe=showing(host, spec, folder, path))
        assert seen in shown.stdout.split()


OPEN = """
import errno, sys
try:
    open(sys.argv[1], "rb").read()
    print("read")
except OSError as problem:
    print(errno.errorcode[problem.errno])
"""


@pytest.mark.parametrize("path", MASKED)
async def test_files_of_proc_that_tell_of_the_host_are_masked(host: Host, spec: BoxSpec, path: str) -> None:
    if not Path(path).exists():
        pytest.skip(f"this kernel has no {path}")
    look = ("python3", "-c", OPEN, path)
    assert (await run(host, *look, spec=spec)).stdout == "EACCES\n"
    rest = tuple(each for each in spec.masked if each != path)
    assert (await run(host, *look, spec=replace(spec, masked=rest))).stdout == "read\n"


async def test_what_programs_read_of_proc_is_there(host: Host) -> None:
    """What interpreters, top and ps look at."""
    paths = (
        "cpuinfo",
        "meminfo",
        "stat",
        "uptime",
        "loadavg",
        "version",
        "mounts",
        "filesystems",
        "self/maps",
        "sys/vm/overcommit_memory",
    )
    ran = await run(host, "cat", *(f"/proc/{path}" for path in paths))
    assert ran.stderr == ""


def exposed(host: Host, spec: BoxSpec, *argv: str) -> str:
    """What a program says in this box's namespaces when started by an ordinary subprocess, which hands all of its
    environment and descriptors down, and without init."""
    command, read = handing_down(host, spec, *argv)
    ran = subprocess.run(command, input=read, close_fds=False, check=True, capture_output=True, timeout=30)
    return ran.stdout.decode()


async def test_our_environment_stays_ours(host: Host, spec: BoxSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNERD_TEST_SECRET", "hunter2")
    look = ("sh", "-c", "env; cat /proc/[0-9]*/environ 2>/dev/null; true")
    ran = await run(host, *look, spec=spec)
    assert ran.stdout
    assert "hunter2" not in ran.stdout
    assert "hunter2" in exposed(host, spec, *look)


async def test_our_descriptors_stay_ours(host: Host, spec: BoxSpec, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    code = (
        "import os, stat\nfor fd in map(int, os.listdir('/proc/self/fd')):\n"
        "  try:\n    if stat.S_ISREG(os.fstat(fd).st_mode): print(os.pread(fd, 100, 0))\n  except OSError: pass\n"
        "print('looked')"
    )
    look = ("python3", "-c", code)
    with secret.open() as file:
        os.set_inheritable(file.fileno(), True)
        assert (await run(host, *look, spec=spec)).stdout == "looked\n"
        assert "hunter2" in exposed(host, spec, *look)


async def test_mounts_tell_no_path_of_the_host(host: Host, spec: BoxSpec) -> None:
    """/proc/self/mountinfo names where on its file system each mount comes from: of a bind that is the host's path.
    Folders of toolchains are no binds where the daemon is root; the control is a box with that folder bound."""
    look = ("cat", "/proc/self/mountinfo", "/proc/1/mountinfo")
    sources = {line.split()[3] for line in (await run(host, *look, spec=replace(spec, binds=()))).stdout.splitlines()}
    devices = {"/null", "/zero", "/full", "/random", "/urandom", "/tty"}
    own = {source for path in ("/usr", host.etc, host.tools) for source in (path, f"/{Path(path).name}")}
    assert sources - devices - own <= {"/", "/newroot"}
    with tempfile.TemporaryDirectory(prefix="the-hosts-own-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        if os.geteuid() == 0:
            (folder / "file").write_text("shown")
            shown = host.spec(Limits(), binds=[(name, "/opt/shown")])
            seen = await run(host, "sh", "-c", "cat /opt/shown/file; cat /proc/[0-9]*/mountinfo", spec=shown)
            assert seen.stdout.startswith("shown")
            assert folder.name not in seen.stdout
        bound = await run(host, *look, spec=spec, recipe=showing(host, spec, folder, "/shown"))
        assert folder.name in bound.stdout


CONNECT = """
import socket, sys
family, address = (socket.AF_UNIX, sys.argv[1].replace("@", "\\0")) if "@" in sys.argv[1] else (
    socket.AF_INET, ("127.0.0.1", int(sys.argv[1])))
try:
    socket.socket(family).connect(address)
    print("connected")
except OSError as problem:
    import errno
    print(errno.errorcode[problem.errno])
"""


async def test_ports_of_the_host_are_out_of_reach(host: Host, spec: BoxSpec) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = ("python3", "-c", CONNECT, str(server.getsockname()[1]))
        assert (await run(host, *command, spec=spec)).stdout == "ECONNREFUSED\n"
        shared = without(host, spec, "own network")
        assert (await run(host, *command, spec=spec, recipe=shared)).stdout == "connected\n"


async def test_abstract_sockets_of_the_host_are_out_of_reach(host: Host, spec: BoxSpec) -> None:
    name = f"runnerd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        command = ("python3", "-c", CONNECT, f"@{name}")
        assert (await run(host, *command, spec=spec)).stdout == "ECONNREFUSED\n"
        shared = without(host, spec, "own network")
        bare = replace(spec, landlock=())
        assert (await run(host, *command, spec=bare, recipe=shared)).stdout == "connected\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make the network to reach")
async def test_addresses_outside_are_out_of_reach(host: Host) -> None:
    """In a network that is made for it; nothing leaves the machine."""
    command = ("unshare", "--net", sys.executable, "-m", "tests.attacks.outside", host.backend)
    ran = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    assert ran.stdout.decode().split() == ["ENETUNREACH", "connected"]


async def test_there_is_no_network_but_loopback(host: Host) -> None:
    """Nothing is sent anywhere: there is no interface it could leave by."""
    ran = await run(host, "cat", "/proc/net/dev")
    assert [line.split(":")[0].strip() for line in ran.stdout.splitlines()[2:]] == ["lo"]
    probe = (
        "import socket, errno\ntry: socket.create_connection(('192.0.2.1', 80), 1)\nexcept OSError as e: print(e.errno)"
    )
    assert (await run(host, "python3", "-c", probe)).stdout == "101\n"  # ENETUNREACH


async def test_setuid_programs_gain_nothing(host: Host) -> None:
    look = "test -u /usr/bin/su && echo setuid; /usr/bin/su -c id; cat /proc/self/status | grep ^Uid"
    assert (await run(host, "sh", "-c", look)).stdout == "setuid\nUid:\t1000\t1000\t1000\t1000\n"


@pytest.fixture
def setuid(attacker: Path) -> Generator[Path]:
    """The attack program as a set-user-ID program of root's, where everybody can reach it."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a set-user-ID program of root's")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        program = Path(shutil.copy(attacker, folder))
        program.chmod(0o4755)
        yield program


def test_what_setuid_programs_gain_outside(setuid: Path) -> None:
    """Root's rights, unless one of the two layers is there that boxes have."""
    ordinary = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    nosuid = 'mount --bind -o nosuid "$0" "$0" && mount -o remount,bind,nosuid "$0" && exec "$@"'
    mounted = ("unshare", "--mount", "sh", "-c", nosuid, str(setuid.parent))
    for layer, user in (
        ((), 0),
        (("setpriv", "--no-new-privs"), 65534),
        (mounted, 65534),
    ):
        command = (*layer, *ordinary, setuid, "euid")
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{user} 0\n"


async def test_both_layers_stand_before_setuid_programs(host: Host, setuid: Path) -> None:
    spec = host.spec(Limits(), binds=[(str(setuid), "/opt/setuid")])
    look = (
        "import os\nassert os.stat('/opt/setuid').st_mode & 0o4000\n"
        "for place in ('/opt/setuid', '/usr', '/work', '/tmp', '/dev/shm', '/dev/pts', '/dev', '/proc', '/etc', '/'):\n"
        "  assert os.statvfs(place).f_flag & os.ST_NOSUID, place\n"
        "assert 'NoNewPrivs:\\t1' in open('/proc/self/status').read()\n"
        "os.execv('/opt/setuid', ['setuid', 'euid'])"
    )
    ran = await run(host, "python3", "-c", look, spec=spec)
    assert (ran.stdout, ran.stderr) == ("1000 0\n", "")


VSOCK = """
import errno, socket, sys
try:
    with socket.socket(socket.AF_VSOCK) as client:
        if sys.argv[1] == "bind":
            client.bind((socket.VMADDR_CID_ANY, int(sys.argv[2])))
            print("bound")
        else:
            client.connect((1, int(sys.argv[2])))
            print(client.recv(10).decode())
except OSError as problem:
    print(errno.errorcode[problem.errno])
"""


@pytest.fixture
def listener() -> Generator[socket.socket]:
    """A server on the host that speaks vsock. Never asked from another machine: the tests go by the local address."""
    try:
        server = socket.socket(socket.AF_VSOCK)
    except OSError as problem:
        pytest.skip(f"this kernel has no AF_VSOCK: {problem.strerror}")
    with server:
        server.bind((socket.VMADDR_CID_ANY, 0xFFFFFFFF))  # any port
        server.listen()
        yield server


async def test_vsock_ports_are_not_shared(host: Host, spec: BoxSpec, listener: socket.socket) -> None:
    """No namespace divides them: where a box could open such a socket it would find the host's port taken."""
    command = ("python3", "-c", VSOCK, "bind", str(listener.getsockname()[1]))
    assert (await run(host, *command, spec=spec)).stdout == "ENOSYS\n"
    assert (await run(host, *command, spec=replace(spec, filters=()))).stdout == "EADDRINUSE\n"


@pytest.fixture
def loopback(listener: socket.socket) -> socket.socket:
    """The listener, where vsock has a loopback: without one, what is sent to the local address leaves the machine."""
    with socket.socket(socket.AF_VSOCK) as probe:
        try:
            probe.bind((1, 0xFFFFFFFF))
        except OSError as problem:
            pytest.skip(f"this kernel has no vsock loopback: {problem.strerror}")
    return listener


async def test_vsock_servers_of_the_host_are_out_of_reach(host: Host, spec: BoxSpec, loopback: socket.socket) -> None:
    command = ("python3", "-c", VSOCK, "connect", str(loopback.getsockname()[1]))
    assert (await run(host, *command, spec=spec)).stdout == "ENOSYS\n"

    async def serve() -> None:
        server = trio.socket.from_stdlib_socket(loopback)
        connection, _ = await server.accept()
        with connection:
            await connection.send(b"hunter2")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        assert (await run(host, *command, spec=replace(spec, filters=()))).stdout == "hunter2\n"


FIND_WRITABLE = (
    "for d in $(find / -xdev -type d 2>/dev/null;"
    " find /dev /tmp /work /shown /proc/self -maxdepth 3 -type d 2>/dev/null);"
    ' do if ( : > "$d/.try" ) 2>/dev/null; then df -k --output=size "$d" | tail -1; fi; done'
)


async def test_every_writable_mount_has_a_size(host: Host, spec: BoxSpec) -> None:
    """Found by trying: whatever folder takes a file must lie on a small file system. The control is a box that is
    shown one of the host's."""
    sizes = [int(size) for size in (await run(host, "bash", "-c", FIND_WRITABLE)).stdout.split()]
    assert sizes
    assert max(sizes) <= 64 * 1024
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        shown = showing(host, spec, folder, "/shown")
        ran = await run(host, "bash", "-c", FIND_WRITABLE, spec=replace(spec, landlock=()), recipe=shown)
        assert max(map(int, ran.stdout.split())) > 64 * 1024
