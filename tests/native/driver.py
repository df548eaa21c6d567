"""Drives init alone, without the daemon: blocking calls over its socket, and the box by plain bubblewrap."""

import array
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

HELLO, FILTER, LANDLOCK, WRITE, MKDIR, RENAME, DELETE, LIST, OPEN, START, SIGNAL, RELEASE, DIAL, DIAL_UNIX, EXIT = (
    range(1, 16)
)
TERMINAL, SPLIT, PIPES = range(3)
FOREGROUND, TREE, BOX = range(3)
KEEP = 2**64 - 1
MESSAGE_MAX = 96 * 1024
PROGRAMS_MAX = 64
PATIENCE = 60.0
"""Seconds that anything may take on a busy machine before a test fails."""

REQUEST = struct.Struct("=6I")
REPLY = struct.Struct("=IIiI")
START_HEAD = struct.Struct("=6I16Q")
EXIT_BODY = struct.Struct("=2Q")
ENTRY = struct.Struct("=2QI4x")

ENV = {"PATH": "/usr/bin:/bin", "HOME": "/work", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass
class Reply:
    op: int
    tag: int
    result: int
    a: int
    payload: bytes
    fds: list[int] = field(default_factory=list)


@dataclass
class Program:
    """A started program. `fds` as START's reply carries them."""

    tag: int
    pid: int
    fds: list[int]

    def send(self, data: bytes) -> None:
        os.write(self.fds[0], data)

    def close(self) -> None:
        for fd in self.fds:
            with suppress(OSError):
                os.close(fd)


class Init:
    """A box whose PID 1 is init, and its socket."""

    def __init__(self, binary: Path, work: str = "/work", *, binds: Sequence[tuple[Path, str]] = ()) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mounts = [word for source, target in binds for word in ("--ro-bind", str(source), target)]
        owned = [] if work.startswith("/tmp/") else ["--perms", "0700", "--size", str(256 << 20), "--tmpfs", work]
        argv = [
            *("bwrap", "--unshare-all", "--die-with-parent", "--as-pid-1", "--cap-drop", "ALL", "--clearenv"),
            *("--uid", "1000", "--gid", "1000", "--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc"),
            *("--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"),
            *("--proc", "/proc", "--dev", "/dev", "--size", "16777216", "--tmpfs", "/dev/shm"),
            *("--size", "67108864", "--tmpfs", "/tmp", *owned, "--ro-bind", str(binary), "/init", *mounts),
            *("--remount-ro", "/dev", "--remount-ro", "/", "--", "/init", work),
        ]
        # The socket must be descriptor 3, which a shell's redirection arranges without code between fork and exec.
        script = f'exec "$@" 3<&{theirs.fileno()} {theirs.fileno()}<&-' if theirs.fileno() != 3 else 'exec "$@"'
        self.process = subprocess.Popen(
            ["bash", "-c", script, "sh", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self.socket = ours
        self.socket.settimeout(PATIENCE)
        self._tag = 0
        self._replies: list[Reply] = []
        self.hello = self.wait_for(lambda reply: reply.op == HELLO)

    # --- messages ----------------------------------------------------------------------------------------------

    def post(self, op: int, payload: bytes = b"", args: Iterable[int] = (), fds: Sequence[int] = ()) -> int:
        """Send a request; its tag."""
        self._tag += 1
        numbers = [*args, 0, 0, 0, 0][:4]
        self.raw(REQUEST.pack(op, self._tag, *numbers) + payload, fds)
        return self._tag

    def raw(self, message: bytes, fds: Sequence[int] = ()) -> None:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([message], ancillary)

    def wait_for(self, wanted: Callable[[Reply], bool]) -> Reply:
        """The first reply that is wanted; others are kept. EOFError when init is gone."""
        for reply in self._replies:
            if wanted(reply):
                self._replies.remove(reply)
                return reply
        while True:
            reply = self.receive()
            if wanted(reply):
                return reply
            self._replies.append(reply)

    def receive(self) -> Reply:
        try:
            data, fds, flags, _ = socket.recv_fds(self.socket, MESSAGE_MAX, 8)
        except ConnectionResetError:
            data, fds, flags = b"", [], 0
        if not data:
            raise EOFError("init is gone")
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        op, tag, result, a = REPLY.unpack_from(data)
        return Reply(op, tag, result, a, data[REPLY.size :], list(fds))

    def ask(self, op: int, payload: bytes = b"", args: Iterable[int] = (), fds: Sequence[int] = ()) -> Reply:
        """A request and its answer."""
        tag = self.post(op, payload, args, fds)
        return self.wait_for(lambda reply: reply.tag == tag and reply.op == op)

    def settle(self) -> list[Reply]:
        """Have init work through all that was sent; what it said meanwhile."""
        tag = self.post(MKDIR, b".\0")
        self.wait_for(lambda reply: reply.tag == tag)
        said, self._replies = self._replies, []
        return said

    # --- files -------------------------------------------------------------------------------------------------

    def write(self, path: str, data: bytes | str, mode: int = 0o644, tree: int = 0) -> int:
        content = data.encode() if isinstance(data, str) else data
        return self.ask(WRITE, os.fsencode(path) + b"\0" + content, [mode, tree]).result

    def read(self, path: str, tree: int = 0) -> bytes:
        reply = self.ask(OPEN, os.fsencode(path) + b"\0", [0, tree])
        if reply.result < 0:
            raise OSError(-reply.result, os.strerror(-reply.result), path)
        with open(reply.fds[0], "rb") as file:
            return file.read()

    def list(self, path: str = ".") -> dict[str, tuple[int, int, int]]:
        """Name -> size, mtime, mode."""
        tag = self.post(LIST, os.fsencode(path) + b"\0")
        entries = {}
        while True:
            reply = self.wait_for(lambda reply: reply.tag == tag)
            if reply.result < 0:
                raise OSError(-reply.result, os.strerror(-reply.result), path)
            data, at = reply.payload, 0
            while at < len(data):
                end = data.index(b"\0", at + ENTRY.size)
                entries[os.fsdecode(data[at + ENTRY.size : end])] = ENTRY.unpack_from(data, at)
                at = end + 1
            if not reply.a:
                return entries

    # --- programs ----------------------------------------------------------------------------------------------

    def post_start(
        self,
        *argv: str,
        mode: int = PIPES,
        env: Mapping[str, str] = ENV,
        cwd: str = "/work",
        window: tuple[int, int] = (24, 80),
        nice: int = 0,
        rlimits: Mapping[int, int] | None = None,
        fds: Sequence[int] = (),
    ) -> int:
        limits = [(rlimits or {}).get(number, KEEP) for number in range(16)]
        head = START_HEAD.pack(mode, *window, nice, len(argv), len(env), *limits)
        strings = [cwd, *argv, *(f"{name}={value}" for name, value in env.items())]
        return self.post(START, head + b"".join(os.fsencode(text) + b"\0" for text in strings), fds=fds)

    def started(self, tag: int) -> Program:
        reply = self.wait_for(lambda reply: reply.op == START and reply.tag == tag)
        if reply.result < 0:
            assert not reply.fds
            raise OSError(-reply.result, os.strerror(-reply.result))
        return Program(tag, reply.a, reply.fds)

    def start(self, *argv: str, **settings) -> Program:
        return self.started(self.post_start(*argv, **settings))

    def python(self, code: str, **settings) -> Program:
        return self.start("/usr/bin/python3", "-c", code, **settings)

    def ended(self, program: Program) -> tuple[int, float, int]:
        """Exit code (negative: signal), CPU seconds, peak KiB."""
        reply = self.wait_for(lambda reply: reply.op == EXIT and reply.tag == program.tag)
        micros, kib = EXIT_BODY.unpack(reply.payload)
        return os.waitstatus_to_exitcode(reply.result), micros / 1e6, kib

    def run(self, *argv: str, **settings) -> tuple[int, bytes, bytes]:
        """In pipes: exit code, stdout, stderr."""
        program = self.start(*argv, **settings)
        os.close(program.fds.pop(0))
        out, err = collect(program.fds)
        code, _, _ = self.ended(program)
        program.close()
        self.post(RELEASE, args=[program.tag])
        return code, out, err

    def run_python(self, code: str, *arguments: str, **settings) -> tuple[int, bytes, bytes]:
        return self.run("/usr/bin/python3", "-c", code, *arguments, **settings)

    def signal(self, program: Program, signum: int, scope: int = FOREGROUND) -> int:
        return self.ask(SIGNAL, args=[program.tag, signum, scope]).result

    # --- its end -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the socket: the box must end."""
        self.socket.close()
        for reply in self._replies:
            for fd in reply.fds:
                os.close(fd)
        for fd in self.hello.fds:
            os.close(fd)
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stderr is not None
            self.process.stderr.close()

    def __enter__(self) -> "Init":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def collect(fds: Sequence[int], until: bytes | None = None) -> tuple[bytes, ...]:
    """Read until every descriptor has ended (EOF, or EIO of a terminal), or until one has said `until`."""
    got = dict.fromkeys(fds, b"")
    waiting = set(fds)
    deadline = time.monotonic() + PATIENCE
    while waiting:
        ready, _, _ = select.select(waiting, [], [], max(0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError(f"nothing more came after {got}")
        for fd in ready:
            try:
                data = os.read(fd, 1 << 16)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            got[fd] += data
            if not data:
                waiting.discard(fd)
        if until is not None and any(until in text for text in got.values()):
            break
    return tuple(got[fd] for fd in fds)


def wait_until(condition: Callable[[], object]) -> None:
    """Look again and again, as there is nothing that would tell."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("what was waited for did not happen")
        time.sleep(0.005)


def alive(init: Init) -> bool:
    """Whether init still answers."""
    return init.ask(MKDIR, b".\0").result == 0 and init.process.poll() is None
