"""A live box: start programs in it, do file work, dial its ports, destroy it."""

import errno
import logging
import os
import resource
import signal
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Literal

import trio

from runnerd.errors import BoxError, BrokenBox
from runnerd.sandbox import rlimits, wire, zygote
from runnerd.sandbox.channel import MESSAGE_MAX, Channel, Op, Pending, Reply
from runnerd.sandbox.handles import Handles
from runnerd.sandbox.host import Host
from runnerd.sandbox.keeper import Keeper
from runnerd.sandbox.launch import launch
from runnerd.sandbox.process import DESCRIPTORS, Kind, Process, is_kind
from runnerd.sandbox.recipe import Recipe
from runnerd.sandbox.spawn import Child
from runnerd.sandbox.spec import BoxSpec, Launch, Outcome
from runnerd.sandbox.wire import Entry
from runnerd.sandbox.zygote import Zygote

log = logging.getLogger("runnerd.sandbox")

_SCOPES = {"foreground": 0, "tree": 1, "box": 2}
_TREES = {"work": 0, "tmp": 1}
_INLINE_MAX = MESSAGE_MAX // 2
"""Files up to this many bytes travel in the request itself, larger ones as a descriptor."""

HELLO_SECONDS = 10.0
"""A box that has not come up by then never will."""

REAP_SECONDS = 10.0
"""A box full of processes takes a while to die on a busy host; after this its builder is killed as well."""

NICE = 10
"""Programs give way to the kernel's terminal worker, which delivers their output (see docs/architecture.md)."""

Scope = Literal["foreground", "tree", "box"]
Tree = Literal["work", "tmp"]
"""What paths of the file work are relative to: the work tree, or /tmp."""


class Box:
    """See `open_box`. `exceeded` and `failure` are set before `ended`."""

    def __init__(self, spec: BoxSpec, keeper: Keeper, child: Child, sock: socket.socket, stderr: int) -> None:
        self._spec, self._keeper, self._child, self._stderr = spec, keeper, child, stderr
        self._channel = Channel(sock)
        self._hello = trio.Event()
        self._processes: dict[int, Process] = {}
        self._early: dict[int, Reply] = {}
        self._released: set[int] = set()
        self._killed = False
        self._init_pidfd = -1
        self.handles: Handles | None = None
        self.ended = trio.Event()
        self.exceeded: Outcome | None = None
        self.failure: BrokenBox | None = None
        self.used = keeper.used
        self.short_of_processes = keeper.short_of_processes
        self._load_layers()

    # --- programs ----------------------------------------------------------------------------------------------

    async def start(
        self, launch: Launch, files: Mapping[str, bytes] | None = None, *, descriptor: int | None = None
    ) -> Process:
        """Write `files` (paths relative to the work tree), then start a program. One round trip in all.

        `descriptor` becomes the program's 60; it stays the caller's.

        Raises InitRefused with the box's errno (a file that cannot be written, an unknown program), BrokenBox.
        """
        with ExitStack() as stack:
            writes = [self._write(path, data, 0o644, stack) for path, data in (files or {}).items()]
            wanted = rlimits.rlimits(self._spec.limits, cgroup=self._keeper.cgroup is not None)
            limits = rlimits.within(wanted, lambda number: resource.getrlimit(number)[1])
            payload = wire.start(launch, NICE, limits)
            along = () if descriptor is None else (descriptor,)
            pending = self._channel.post(Op.START, "start", subject=launch.argv[0], payload=payload, fds=along)
            try:
                for write in writes:
                    await write.wait()
            except BaseException:
                pending.abandon()
                raise
            reply = await pending.wait()
        self._expect(reply, *DESCRIPTORS[launch.mode])
        process = Process(pending.tag, reply.a, launch.mode, reply.fds)
        self._processes[pending.tag] = process
        if (early := self._early.pop(pending.tag, None)) is not None:
            self._exited(early)
        if self.ended.is_set():
            process.exited.set()
        return process

    async def prepare(self, launch: Launch) -> Zygote:
        """Start a program that then waits to be used. Raises as `start`, and BoxError when it does not wait."""
        ours, theirs = zygote.socketpair()
        try:
            with theirs:
                process = await self.start(launch, descriptor=theirs.fileno())
            waiting = Zygote(launch, process, ours)
            await waiting.ready()
        except BaseException:
            ours.close()
            raise
        return waiting

    async def signal(self, process: Process, signum: int, scope: Scope = "foreground") -> None:
        """Signal the program's foreground group, everything it started, or the whole box. Gone already is no error."""
        pending = self._channel.post(
            Op.SIGNAL, "signal", subject=str(signum), args=(process.tag, signum, _SCOPES[scope])
        )
        try:
            await pending.wait()
        except BoxError as error:
            if getattr(error, "errno", None) != errno.ESRCH:
                raise

    def release(self, process: Process) -> None:
        """Hang up the terminal of a program that has ended, and with it whatever it left behind."""
        if self._processes.pop(process.tag, None) is not None and not self._killed:
            self._released.add(process.tag)
            self._channel.post(Op.RELEASE, "release", args=(process.tag,))

    # --- files -------------------------------------------------------------------------------------------------

    async def write(self, path: str, data: bytes, mode: int = 0o644, tree: Tree = "work") -> None:
        """Write a whole file atomically; parents are made. Raises InitRefused (ENOSPC, EXDEV, ...), BrokenBox."""
        with ExitStack() as stack:
            await self._write(path, data, mode, stack, tree).wait()

    async def write_all(self, files: Mapping[str, bytes]) -> None:
        """Write some files in one round trip. Raises as `write`."""
        with ExitStack() as stack:
            for pending in [self._write(path, data, 0o644, stack) for path, data in files.items()]:
                await pending.wait()

    async def mkdir(self, path: str, mode: int = 0o755) -> None:
        await self._files(Op.MKDIR, "make the folder", path, args=(mode,))

    async def rename(self, old: str, new: str) -> None:
        await self._files(Op.RENAME, "rename", old, new)

    async def delete(self, path: str) -> None:
        """Delete a file or a whole folder; symlinks are deleted, never followed."""
        await self._files(Op.DELETE, "delete", path)

    async def list(self, path: str = ".") -> list[Entry]:
        """The names in a folder, in the kernel's order."""
        pending = self._post_files(Op.LIST, "list", path)
        await pending.wait()
        try:
            return [entry for reply in pending.replies for entry in wire.entries(reply.payload)]
        except ValueError as problem:
            raise self._break(f"LIST {problem}") from None

    async def open(self, path: str, tree: Tree = "work") -> int:
        """A read-only descriptor of a regular file or folder, which the caller closes."""
        reply = await self._post_files(Op.OPEN, "open", path, args=(0, _TREES[tree])).wait()
        self._expect(reply, "file")
        return reply.fds[0]

    # --- ports -------------------------------------------------------------------------------------------------

    async def dial(self, port: int, host: str = "localhost") -> socket.socket:
        """A connection to a TCP port inside the box (localhost: 127.0.0.1, then ::1), non-blocking."""
        pending = self._channel.post(
            Op.DIAL, "dial", subject=f"{host}:{port}", args=(port,), payload=host.encode() + b"\0"
        )
        return self._socket(await pending.wait())

    async def dial_unix(self, path: str) -> socket.socket:
        """A connection to a Unix socket at an absolute path inside the box, non-blocking."""
        pending = self._channel.post(Op.DIAL_UNIX, "dial", subject=path, payload=os.fsencode(path) + b"\0")
        return self._socket(await pending.wait())

    # --- its end -----------------------------------------------------------------------------------------------

    def kill(self, exceeded: Outcome | None = None) -> None:
        """End the box at once and everything in it; does not wait. `exceeded` says which limit was broken."""
        if self._killed:
            return
        self._killed = True
        if exceeded is not None and self.exceeded is None:
            self.exceeded = exceeded
        if self._init_pidfd >= 0:  # and with it all of its namespace; its parent lives on to reap it
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init_pidfd, signal.SIGKILL)
        else:
            self._keeper.kill()
        self._channel.close()  # ends an init that has not said hello yet

    async def alive(self) -> None:
        """Wait until init is up. Raises BoxError, with its builder's own words, when it does not come up."""
        with trio.move_on_after(HELLO_SECONDS):
            await self._hello.wait()
        if self.handles is None:
            raise self.failure or BoxError(f"the box did not come up within {HELLO_SECONDS:g} s")

    def healthy(self) -> bool:
        """Whether it is up and init is there at this moment, looked up anew."""
        return self.handles is not None and not self._killed and self._channel.open()

    # --- inner workings ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the channel until the box ends; run by open_box."""
        try:
            await self._channel.receive(self._event)
            if not self._killed:
                self.failure = self._why_it_ended()
        except BrokenBox as problem:
            self.failure = problem
        finally:
            self.kill(self._keeper.end().exceeded)
            self.ended.set()
            self._hello.set()
            for process in self._processes.values():
                process.exited.set()

    async def watch(self) -> None:
        """End the box when it is over a limit, or when nobody can tell any more."""
        try:
            self.kill(await self._keeper.watch(self._up))
        except* OSError as group:
            self.failure = self.failure or self._failed("watching its limits", group)
            self.kill()

    async def reap(self) -> None:
        """Wait until nothing of the box is left: its builder, bubblewrap or nsjail, ends once it has reaped init, and
        init goes last. Where the kernel has killed the builder as well, for the box's memory, it is the keeper who
        waits for the others."""
        with trio.move_on_after(REAP_SECONDS) as patience:
            await self._child.wait()
        if patience.cancelled_caught:
            self._keeper.kill()
            self._child.kill()
            await self._child.wait()
        if self.handles is not None:
            self.handles.close()
        if self._init_pidfd >= 0:
            os.close(self._init_pidfd)
        os.close(self._stderr)

    def _load_layers(self) -> None:
        """Before any other request. Landlock first: its system calls are not among those the filters allow."""
        if self._spec.landlock:
            folders = "".join(f"{folder}\0" for folder in self._spec.landlock)
            self._channel.post(Op.LANDLOCK, "restrict files by Landlock", payload=folders.encode())
        for program in self._spec.filters:
            self._channel.post(Op.FILTER, "load a filter", payload=program)

    async def _up(self) -> Handles | None:
        await self._hello.wait()
        return self.handles

    def _event(self, reply: Reply) -> None:
        if reply.op is Op.EXIT:
            self._exited(reply)
        elif self.handles is not None or len(reply.fds) != 5 or reply.sender <= 0:
            raise self._refuse(reply, "HELLO is not as it should be")
        else:
            try:
                self._init_pidfd = os.pidfd_open(reply.sender)
            except OSError as problem:  # it was killed since it said hello, or we are short of descriptors
                reply.close()
                raise self._failed("holding its init by a pidfd", problem) from None
            self.handles = Handles(*reply.fds, init=reply.sender)
            self._hello.set()

    def _exited(self, reply: Reply) -> None:
        process = self._processes.get(reply.tag)
        if reply.tag in self._released:  # its end was on its way when we let go of it
            self._released.discard(reply.tag)
            return
        if process is None:  # told before the answer to START was taken
            if len(self._early) >= 64 or reply.fds:
                raise self._refuse(reply, "EXIT of programs that were not started")
            self._early[reply.tag] = reply
            return
        if len(reply.payload) != wire.EXIT.size or reply.fds or process.exited.is_set():
            raise self._refuse(reply, "EXIT is not as it should be")
        process.exit = wire.exit_of(reply.result, reply.payload)
        if process.exit.code != 0 and (exceeded := self._keeper.end().exceeded) is not None:
            self.kill(exceeded)  # the kernel kills a program before init, which may still tell of it
        process.exited.set()

    def _write(self, path: str, data: bytes, mode: int, stack: ExitStack, tree: Tree = "work") -> Pending:
        """Post a file; `stack` holds the descriptor of a large one until the request is answered."""
        name, args = os.fsencode(path) + b"\0", (mode, _TREES[tree])
        if len(data) <= _INLINE_MAX:
            return self._channel.post(Op.WRITE, "write", subject=path, args=args, payload=name + data)
        memory = os.memfd_create("runnerd-file", os.MFD_CLOEXEC)
        stack.callback(os.close, memory)
        with open(memory, "wb", closefd=False) as file:
            file.write(data)
        return self._channel.post(Op.WRITE, "write", subject=path, args=args, payload=name, fds=[memory])

    def _post_files(self, op: Op, step: str, *paths: str, args: tuple[int, ...] = ()) -> Pending:
        payload = b"".join(os.fsencode(path) + b"\0" for path in paths)
        return self._channel.post(op, step, subject=" to ".join(paths), args=args, payload=payload)

    async def _files(self, op: Op, step: str, *paths: str, args: tuple[int, ...] = ()) -> None:
        reply = await self._post_files(op, step, *paths, args=args).wait()
        self._expect(reply)

    def _socket(self, reply: Reply) -> socket.socket:
        self._expect(reply, "socket")
        return socket.socket(fileno=reply.fds[0])

    def _expect(self, reply: Reply, *kinds: Kind) -> None:
        """Check that a reply carries just the descriptors it should, and make them non-blocking."""
        if len(reply.fds) != len(kinds) or not all(map(is_kind, kinds, reply.fds)):
            raise self._refuse(reply, f"{reply.op.name} came with other descriptors than it should")
        for fd in reply.fds:
            os.set_blocking(fd, False)

    def _refuse(self, reply: Reply, why: str) -> BrokenBox:
        reply.close()
        return self._break(why)

    def _break(self, why: str) -> BrokenBox:
        self.failure = self.failure or BrokenBox(f"init's answer cannot be right: {why}")
        self.kill()
        return self.failure

    def _failed(self, step: str, problem: OSError | BaseExceptionGroup[OSError]) -> BrokenBox:
        """The host refuses what the box needs: that ends the box, and nothing else."""
        while isinstance(problem, BaseExceptionGroup):
            problem = problem.exceptions[0]
        failure = BrokenBox(f"the box broke, {step}: {problem.strerror} (errno {problem.errno})")
        log.warning("a box broke", extra={"reason": failure.message})
        return failure

    def _why_it_ended(self) -> BrokenBox:
        """By itself: the kernel's word, or what the builder or init wrote to stderr before the box came up."""
        if reason := self._keeper.end().reason:
            return BrokenBox(reason)
        if self.handles is not None:
            return BrokenBox("the box's init has ended")
        try:
            words = os.read(self._stderr, 4096).decode("utf-8", "replace").strip()
        except BlockingIOError:
            words = ""
        return BrokenBox(f"the box could not be made: {words or 'its builder ended without a word'}")


@asynccontextmanager
async def open_box(host: Host, spec: BoxSpec, recipe: Recipe | None = None) -> AsyncGenerator[Box]:
    """A box for as long as the block runs; when it ends, everything in the box is dead and reaped.

    Returns before the box is up: requests wait in its socket, and errors of building it come with the first answer.
    `recipe` is for the host's backend, by default that of `spec`. Raises SetupError when the backend cannot be
    started, or cannot express the box, or no uid is free, BoxError when it cannot have a cgroup.
    """
    with ExitStack() as stack:
        uid = stack.enter_context(host.uids.take()) if host.uids is not None else None
        keeper = host.keeper(spec)
        try:
            box = Box(spec, keeper, *launch(host, recipe or host.recipe(spec), uid, keeper.cgroup))
            try:
                async with _tasks(box):
                    yield box
            finally:
                with trio.CancelScope(shield=True):
                    await box.reap()
        finally:
            with trio.CancelScope(shield=True):
                await keeper.remove()


@asynccontextmanager
async def _tasks(box: Box) -> AsyncGenerator[None]:
    """The box's own tasks, until it is killed at the block's end."""
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(box.run)
            nursery.start_soon(box.watch)
            try:
                yield
            finally:
                box.kill()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # The box's own tasks do not fail: what comes alone is the caller's, who knows no nursery.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
