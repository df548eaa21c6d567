"""init's start and end, what it refuses, its layers, and the sockets it hands out."""

import errno
import os
import socket
import stat
import struct
import subprocess
from pathlib import Path

import pytest
from driver import (
    DIAL,
    DIAL_UNIX,
    FILTER,
    FOREGROUND,
    LANDLOCK,
    LIST,
    MESSAGE_MAX,
    MKDIR,
    OPEN,
    PIPES,
    RELEASE,
    REPLY,
    REQUEST,
    SIGNAL,
    SPLIT,
    START,
    START_HEAD,
    TERMINAL,
    WRITE,
    Init,
    alive,
    collect,
)

NO_LIMITS = [2**64 - 1] * 16


def bpf(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def refuse(number: int, argument: int | None = None) -> bytes:
    """A filter that answers EPERM to one system call, when `argument` (0 to 5) is given only if that is not 0."""
    load, equal, give = 0x20, 0x15, 0x06
    denied, allowed = (give, 0, 0, 0x00050000 | errno.EPERM), (give, 0, 0, 0x7FFF0000)
    if argument is None:
        return bpf((load, 0, 0, 0), (equal, 0, 1, number), denied, allowed)
    return bpf(
        (load, 0, 0, 0), (equal, 0, 2, number), (load, 0, 0, 16 + 8 * argument), (equal, 0, 1, 0), allowed, denied
    )


# --- start and end ----------------------------------------------------------------------------------------------


def test_the_binary_is_small_and_static(binary: Path) -> None:
    assert binary.stat().st_size < 150_000
    headers = subprocess.check_output(["readelf", "-lW", binary], text=True)
    assert "INTERP" not in headers
    assert "RWE" not in headers


def test_hello_brings_the_boxs_folders_and_a_diagnostic_socket(init: Init) -> None:
    assert (init.hello.tag, init.hello.result, init.hello.payload) == (0, 0, b"")
    assert init.hello.a >= 0
    init.write("file", "")
    proc, work, tmp, shm, diag = init.hello.fds
    assert "self" in os.listdir(f"/proc/self/fd/{proc}")
    assert stat.S_ISDIR(os.stat("1", dir_fd=proc).st_mode)
    assert os.stat("file", dir_fd=work).st_size == 0
    assert stat.S_IMODE(os.fstat(work).st_mode) == 0o700
    assert len({os.fstat(fd).st_dev for fd in (work, tmp, shm)}) == 3
    with socket.socket(fileno=os.dup(diag)) as diagnostic:
        assert (diagnostic.family, diagnostic.proto) == (socket.AF_NETLINK, 4)


def test_a_missing_work_tree_is_made(binary: Path) -> None:
    with Init(binary, "/tmp/deep/work") as init:
        assert init.write("file", "x") == 0
        code, out, _ = init.run("stat", "-c", "%a %n", "/tmp/deep", "/tmp/deep/work", cwd="/tmp/deep/work")
        assert (code, out) == (0, b"700 /tmp/deep\n700 /tmp/deep/work\n")


def test_a_work_tree_that_cannot_be_made_is_told_with_its_step(binary: Path) -> None:
    process = subprocess.run([binary, "/proc/nowhere"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr.startswith("init: descriptor 3: ")  # nothing was touched before the socket was found
    process = subprocess.run(["bash", "-c", f"exec {binary} /proc/nowhere 3</dev/null"], capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr == "init: mkdir /proc/nowhere: No such file or directory\n"


def refused(binary: Path, *capabilities: str) -> str:
    """What init says that is to limit the box's terminals and has only these capabilities in its namespace."""
    box = ("bwrap", "--unshare-all", "--as-pid-1", "--uid", "0", "--gid", "0", "--cap-drop", "ALL", *capabilities)
    mounts = ("--proc", "/proc", "--dev", "/dev", "--ro-bind", binary, "/init")
    process = subprocess.run([*box, *mounts, "--", "/init", "max=1", "1000", "/tmp"], capture_output=True, text=True)
    assert process.returncode == 1
    return process.stderr


def test_each_step_that_limits_the_terminals_must_succeed(binary: Path) -> None:
    mount, root = ("--cap-add", "CAP_SYS_ADMIN"), ("--cap-add", "CAP_SETFCAP")
    assert refused(binary) == "init: mount /dev/pts: Operation not permitted\n"
    assert refused(binary, *mount) == "init: write /proc/self/uid_map: Operation not permitted\n"
    assert refused(binary, *mount, *root).startswith("init: descriptor 3: ")  # the next step, as init WORK


def test_the_box_ends_with_the_socket(binary: Path, tmp_path: Path) -> None:
    init = Init(binary)
    marker = f"98765.{os.getpid()}"
    code = (
        "import os, signal, sys\n"
        "for number in range(1, 32):\n"
        "    if number not in (9, 19): signal.signal(number, signal.SIG_IGN)\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        "print('up', flush=True)\n"
        "os.execvp('sleep', ['sleep', sys.argv[1]])\n"
    )
    program = init.start("/usr/bin/python3", "-c", code, marker)
    while collect(program.fds[1:], b"up\nup\n")[0].count(b"up") < 1:
        pass
    assert _running(marker)
    init.close()
    program.close()
    assert not _running(marker)


def _running(marker: str) -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if marker.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                found.append(pid)
        except OSError:
            continue
    return found


# --- what it refuses --------------------------------------------------------------------------------------------

START_OK = START_HEAD.pack(PIPES, 24, 80, 0, 1, 0, *NO_LIMITS) + b"/work\0true\0"
MALFORMED = {
    "op 0": (0, b"", []),
    "op of a reply": (15, b"", []),
    "unknown op": (99, b"", []),
    "filter empty": (FILTER, b"", []),
    "filter torn": (FILTER, b"\6\0\0\0\0\0\0", []),
    "filter too long": (FILTER, bytes(8 * 5000), []),
    "filter the kernel refuses": (FILTER, bytes(8), []),
    "landlock empty": (LANDLOCK, b"", []),
    "landlock without NUL": (LANDLOCK, b"/work\0/tmp", []),
    "landlock relative": (LANDLOCK, b"work\0", []),
    "write without NUL": (WRITE, b"path", [0o644]),
    "write setuid": (WRITE, b"path\0", [0o4755]),
    "mkdir empty payload": (MKDIR, b"", [0o755]),
    "mkdir more than a path": (MKDIR, b"a\0b\0", [0o755]),
    "list without NUL": (LIST, b"a", []),
    "open nothing": (OPEN, b"", []),
    "signal 0": (SIGNAL, b"", [1, 0, FOREGROUND]),
    "signal 65": (SIGNAL, b"", [1, 65, FOREGROUND]),
    "signal scope": (SIGNAL, b"", [1, 9, 3]),
    "signal payload": (SIGNAL, b"x", [1, 9, 0]),
    "release payload": (RELEASE, b"x", [1]),
    "dial port 0": (DIAL, b"localhost\0", [0]),
    "dial port 65536": (DIAL, b"localhost\0", [65536]),
    "dial another host": (DIAL, b"example.org\0", [80]),
    "dial without host": (DIAL, b"", [80]),
    "dial relative path": (DIAL_UNIX, b"socket\0", []),
    "start empty": (START, b"", []),
    "start head only": (START, START_OK[: START_HEAD.size], []),
    "start torn": (START, START_OK[:-1], []),
    "start with more": (START, START_OK + b"x\0", []),
    "start mode": (START, START_HEAD.pack(3, 24, 80, 0, 1, 0, *NO_LIMITS) + b"/work\0true\0", []),
    "start rows": (START, START_HEAD.pack(0, 65536, 80, 0, 1, 0, *NO_LIMITS) + b"/work\0true\0", []),
    "start nice": (START, START_HEAD.pack(0, 24, 80, 20, 1, 0, *NO_LIMITS) + b"/work\0true\0", []),
    "start no argv": (START, START_HEAD.pack(0, 24, 80, 0, 0, 1, *NO_LIMITS) + b"/work\0A=B\0", []),
    "start argc lies": (START, START_HEAD.pack(0, 24, 80, 0, 2, 0, *NO_LIMITS) + b"/work\0true\0", []),
    "start argc overflows": (START, START_HEAD.pack(0, 24, 80, 0, 2**32 - 1, 2, *NO_LIMITS) + b"/work\0true\0", []),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_requests_are_refused_and_change_nothing(init: Init, case: str) -> None:
    op, payload, args = MALFORMED[case]
    reply = init.ask(op, payload, args)
    assert reply.result == (-errno.E2BIG if case == "start argc overflows" else -errno.EINVAL)
    assert not reply.fds
    assert init.list() == {}
    assert alive(init)


def test_the_valid_neighbour_of_the_malformed_starts(init: Init) -> None:
    reply = init.ask(START, START_OK)
    assert reply.result == 0
    for fd in reply.fds:
        os.close(fd)


def test_messages_too_short_or_too_long_are_refused(init: Init) -> None:
    init.raw(b"x")
    assert init.receive().result == -errno.EINVAL
    init.raw(REQUEST.pack(WRITE, 77, 0o644, 0, 0, 0)[:-1])
    assert init.receive().result == -errno.EINVAL
    init.raw(REQUEST.pack(WRITE, 78, 0o644, 0, 0, 0) + b"big\0" + bytes(MESSAGE_MAX))
    reply = init.receive()
    assert (reply.tag, reply.result) == (78, -errno.EINVAL)
    largest = bytes(MESSAGE_MAX - REQUEST.size - 4)
    assert init.write("big", largest) == 0
    assert init.read("big") == largest


def test_descriptors_that_do_not_belong_are_closed(init: Init) -> None:
    read, write = os.pipe()
    assert init.ask(MKDIR, b"folder\0", [0o755], [write]).result == -errno.EINVAL
    assert init.ask(WRITE, b"file\0", [0o644], [write, write]).result == -errno.EINVAL
    assert init.ask(WRITE, b"file\0and bytes", [0o644], [write]).result == -errno.EINVAL
    assert init.ask(WRITE, b"file\0", [0o644], [write]).result == -errno.EINVAL  # not a regular file
    os.close(write)
    assert os.read(read, 1) == b""  # the last writer is gone
    os.close(read)
    assert init.list() == {}


def test_many_requests_at_once_are_answered_in_order(init: Init) -> None:
    tags = [init.post(WRITE, f"folder/{number}\0text".encode(), [0o644]) for number in range(100)]
    assert [init.receive().tag for _ in tags] == tags
    assert len(init.list("folder")) == 100


# --- its layers -------------------------------------------------------------------------------------------------

UNAME = 63
"""The system call's number on x86-64."""


def test_filters_hold_for_every_later_program(init: Init) -> None:
    code = "import os; os.uname()"
    assert init.run_python(code)[0] == 0
    init.post(FILTER, refuse(UNAME))
    init.post(FILTER, refuse(UNAME + 1000))
    assert init.settle() == []
    status, _, err = init.run_python(code)
    assert status == 1
    assert b"PermissionError" in err
    _, out, _ = init.run("grep", "-E", "^(NoNewPrivs|Seccomp|Seccomp_filters):", "/proc/self/status")
    assert out.split() == [b"NoNewPrivs:", b"1", b"Seccomp:", b"2", b"Seccomp_filters:", b"2"]


def test_landlock_leaves_only_the_named_folders_writable(init: Init) -> None:
    if not init.hello.a:
        pytest.skip("this kernel has no Landlock")
    write = "import sys; open(sys.argv[1], 'w').close()"
    for wrong, error in [(b"/work\0/dev/null\0", errno.ENOTDIR), (b"/nowhere\0", errno.ENOENT)]:
        init.post(LANDLOCK, wrong)
        assert init.receive().result == -error
    assert init.run_python(write, "/dev/shm/file")[0] == 0  # nothing was restricted by half
    # Without /dev, only that what lies beneath it is refused can be seen; its terminals still open.
    init.post(LANDLOCK, b"/work\0/tmp\0/dev/pts\0/proc\0")
    assert init.settle() == []
    for path, status in [("/work/file", 0), ("/tmp/file", 0), ("/dev/shm/file", 1), ("/dev/null", 1)]:
        assert init.run_python(write, path)[0] == status, path
    code = (
        "import os\n"
        "os.truncate('/work/file', 5); os.mkdir('/work/a'); os.mkdir('/work/b')\n"
        "os.rename('/work/file', '/work/a/x'); os.rename('/work/a/x', '/work/b/x'); os.link('/work/b/x', '/work/a/y')\n"
        "open('/etc/passwd').close(); print(os.ttyname(1), os.get_terminal_size())\n"
    )
    program = init.python(code, mode=TERMINAL)
    assert collect(program.fds)[0] == b"/dev/pts/0 os.terminal_size(columns=80, lines=24)\r\n"
    assert init.ended(program)[0] == 0
    program.close()


def test_all_of_init_works_under_landlock(init: Init) -> None:
    if not init.hello.a:
        pytest.skip("this kernel has no Landlock")
    init.post(LANDLOCK, b"/work\0/tmp\0/dev\0/proc\0")
    assert init.settle() == []
    assert init.write("a/b", "text") == 0
    assert init.read("a/b") == b"text"
    for mode in (TERMINAL, SPLIT, PIPES):
        program = init.start("sh", "-c", "echo $0 >/dev/null; kill -TERM $$", mode=mode)
        assert init.ended(program)[0] == -15
        program.close()
    server = init.python(
        "import socket as s; l = s.create_server(('127.0.0.1', 99 * 99)); print(1, flush=1); l.accept()"
    )
    collect(server.fds[1:], b"1")
    reply = init.ask(DIAL, b"localhost\0", [99 * 99])
    assert reply.result == 0
    os.close(reply.fds[0])
    server.close()


# --- ports and sockets ------------------------------------------------------------------------------------------

SERVER = """
import socket, sys
kind, where = sys.argv[1:]
if kind == "unix":
    listener = socket.socket(socket.AF_UNIX); listener.bind(where); listener.listen(0)
else:
    listener = socket.socket(socket.AF_INET6 if ":" in kind else socket.AF_INET); listener.bind((kind, int(where)))
    listener.listen(0)
print("up", flush=True)
if len(sys.argv) == 3 and sys.stdin.readline() == "serve\\n":
    connection, _ = listener.accept()
    connection.sendall(b"hello from " + where.encode())
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("kind", "host"),
    [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "localhost"), ("::1", "::1"), ("::1", "localhost")],
)
def test_dialling_a_port(init: Init, kind: str, host: str) -> None:
    program = init.start("/usr/bin/python3", "-c", SERVER, kind, "3000")
    collect(program.fds[1:], b"up")
    reply = init.ask(DIAL, host.encode() + b"\0", [3000])
    assert reply.result == 0
    assert not os.get_blocking(reply.fds[0])
    program.send(b"serve\n")
    with socket.socket(fileno=reply.fds[0]) as connection:
        connection.settimeout(60)
        assert connection.recv(100) == b"hello from 3000"
        connection.setblocking(False)
    program.close()


def test_dialling_where_nobody_listens(init: Init) -> None:
    for host in (b"127.0.0.1", b"::1", b"localhost"):
        reply = init.ask(DIAL, host + b"\0", [3000])
        assert (reply.result, reply.fds) == (-errno.ECONNREFUSED, [])
    assert init.ask(DIAL_UNIX, b"/work/socket\0").result == -errno.ENOENT
    assert init.ask(DIAL_UNIX, b"/" + b"x" * 107 + b"\0").result == -errno.ENAMETOOLONG


def test_a_server_that_does_not_accept_keeps_init_only_a_moment(init: Init) -> None:
    program = init.start("/usr/bin/python3", "-c", SERVER, "127.0.0.1", "3000")
    collect(program.fds[1:], b"up")
    replies = [init.ask(DIAL, b"localhost\0", [3000]) for _ in range(4)]
    assert [reply.result for reply in replies] == [0] * 4  # the last ones are still connecting
    for reply in replies:
        os.close(reply.fds[0])
    assert alive(init)
    program.close()


def test_dialling_a_unix_socket(init: Init) -> None:
    program = init.start("/usr/bin/python3", "-c", SERVER, "unix", "/work/socket")
    collect(program.fds[1:], b"up")
    reply = init.ask(DIAL_UNIX, b"/work/socket\0")
    program.send(b"serve\n")
    with socket.socket(fileno=reply.fds[0]) as connection:
        connection.settimeout(60)
        assert connection.recv(100) == b"hello from /work/socket"
        connection.setblocking(False)
    # A full backlog refuses at once instead of keeping init.
    full = [init.ask(DIAL_UNIX, b"/work/socket\0") for _ in range(3)]
    assert full[-1].result == -errno.EAGAIN
    for reply in full:
        for fd in reply.fds:
            os.close(fd)
    program.close()


def test_replies_have_the_documented_size() -> None:
    assert (REQUEST.size, REPLY.size, START_HEAD.size) == (24, 16, 152)
