"""Ways out through files, processes and the network; each with the layer that contains it, and without."""

import os
import socket
from collections.abc import Sequence
from dataclasses import replace

import pytest
import trio

from runnerd.errors import InitRefused
from runnerd.sandbox import bubblewrap
from runnerd.sandbox.box import Box, open_box
from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import BoxSpec, Launch, Limits
from tests.sandbox.running import ENV, finish, run

from .conftest import Attack

pytestmark = pytest.mark.attack


def arguments(host: Host, spec: BoxSpec, *without: str, instead: Sequence[str] = ()) -> list[str]:
    """bubblewrap's arguments of this box, with one run of words taken out, and others put in its place."""
    words = bubblewrap.arguments(spec, host.etc, host.tools)
    at = next(i for i in range(len(words)) if tuple(words[i : i + len(without)]) == without)
    return [*words[:at], *instead, *words[at + len(without) :]]


async def test_read_only_root(host: Host, attack: Attack, spec: BoxSpec) -> None:
    bare = replace(spec, landlock=())
    writable = arguments(host, spec, "--remount-ro", "/")
    assert await attack("write-root", bare) == "EROFS"
    assert await attack("write-root", bare, writable) == "0"


async def test_landlock_holds_alone(host: Host, attack: Attack, spec: BoxSpec) -> None:
    writable = arguments(host, spec, "--remount-ro", "/")
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
import errno, os, resource
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
for _ in range(40):
    if os.fork() == 0:
        os.closerange(0, 3)
        while True: pass
"""
"""Put init last in every queue, and fill the queue of the only processor that it may use."""


async def test_init_cannot_be_rescheduled(host: Host) -> None:
    """It starts the next program and dies when told. Without the filters it is put last and can start nothing more;
    what it still cannot refuse is its end."""
    spec = host.spec(Limits(cpu=0))
    async with open_box(host, spec) as box:
        assert (await script(box, "python3", "-c", RESCHEDULE)).split() == ["EPERM"] * 6
        assert await script(box, "echo", "alive") == "alive\n"
        init = scheduling(box)
    assert init == (os.SCHED_OTHER, 0)
    async with open_box(host, replace(spec, filters=())) as box:
        assert (await script(box, "python3", "-c", RESCHEDULE)).split() == ["EPERM", *["0"] * 5]
        with pytest.raises(InitRefused, match="Permission denied"):
            await script(box, "echo", "alive")
        init = scheduling(box)
    assert init == (os.SCHED_IDLE, 19)


def scheduling(box: Box) -> tuple[int, int]:
    """Init's policy and nice value, looked at from outside."""
    assert box.handles is not None
    init = box.handles.init
    return os.sched_getscheduler(init), os.getpriority(os.PRIO_PROCESS, init)


async def test_init_keeps_its_secrets(attack: Attack) -> None:
    assert await attack("read-init-environ") == "EACCES"


async def test_no_process_of_the_host_is_seen(host: Host, spec: BoxSpec) -> None:
    count = ("sh", "-c", "ls -d /proc/[0-9]* | wc -l")
    assert int((await run(host, *count, spec=spec)).stdout) < 10
    shown = arguments(host, spec, "--proc", "/proc", instead=["--ro-bind", "/proc", "/proc"])
    seen = await run(host, "ls", "/proc", spec=replace(spec, landlock=(), filters=()), args=shown)
    assert str(os.getpid()) in seen.stdout.split()


@pytest.mark.parametrize("path", ["/root", "/home", "/var", "/run", "/sys", "/boot", "/etc/shadow", "/etc/ssh"])
async def test_nothing_of_the_host_is_there(host: Host, path: str) -> None:
    assert "No such file" in (await run(host, "ls", "-d", path)).stderr


async def test_our_environment_stays_ours(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNERD_TEST_SECRET", "hunter2")
    ran = await run(host, "sh", "-c", "env; cat /proc/[0-9]*/environ 2>/dev/null")
    assert ran.stdout
    assert "hunter2" not in ran.stdout


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
        shared = arguments(host, spec, "--unshare-net")
        assert (await run(host, *command, spec=spec, args=shared)).stdout == "connected\n"


async def test_abstract_sockets_of_the_host_are_out_of_reach(host: Host, spec: BoxSpec) -> None:
    name = f"runnerd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        command = ("python3", "-c", CONNECT, f"@{name}")
        assert (await run(host, *command, spec=spec)).stdout == "ECONNREFUSED\n"
        shared = arguments(host, spec, "--unshare-net")
        bare = replace(spec, landlock=())
        assert (await run(host, *command, spec=bare, args=shared)).stdout == "connected\n"


async def test_there_is_no_network_but_loopback(host: Host) -> None:
    """Nothing is sent anywhere: there is no interface it could leave by."""
    ran = await run(host, "cat", "/proc/net/dev")
    assert [line.split(":")[0].strip() for line in ran.stdout.splitlines()[2:]] == ["lo"]
    probe = (
        "import socket, errno\ntry: socket.create_connection(('192.0.2.1', 80), 1)\nexcept OSError as e: print(e.errno)"
    )
    assert (await run(host, "python3", "-c", probe)).stdout == "101\n"  # ENETUNREACH


async def test_setuid_programs_gain_nothing(host: Host) -> None:
    ran = await run(host, "sh", "-c", "test -u /usr/bin/su && /usr/bin/su -c id; cat /proc/self/status | grep ^Uid")
    assert ran.stdout == "Uid:\t1000\t1000\t1000\t1000\n"


async def test_every_writable_mount_has_a_size(host: Host) -> None:
    """Found by trying: whatever folder takes a file must lie on a small file system."""
    script = (
        "for d in $(find / -xdev -type d 2>/dev/null; find /dev /tmp /work /proc/self -maxdepth 3 -type d 2>/dev/null);"
        ' do if ( : > "$d/.try" ) 2>/dev/null; then df -k --output=size "$d" | tail -1; fi; done'
    )
    sizes = [int(size) for size in (await run(host, "bash", "-c", script)).stdout.split()]
    assert sizes
    assert max(sizes) <= 64 * 1024
