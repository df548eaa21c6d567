"""The daemon's end of a box's init socket: requests out, checked replies in. The protocol is native/init.h."""

import array
import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from enum import IntEnum

import msgspec
import trio

from runnerd.errors import BrokenBox, InitRefused

MESSAGE_MAX = 96 * 1024
_FDS_MAX = 8
_REQUEST = struct.Struct("=6I")
_REPLY = struct.Struct("=IIiI")
_CREDENTIALS = struct.Struct("=3i")
_ANCILLARY = socket.CMSG_SPACE(_FDS_MAX * 4) + socket.CMSG_SPACE(_CREDENTIALS.size)


class Op(IntEnum):
    """What a message is about; numbers as in init.h."""

    HELLO = 1
    FILTER = 2
    LANDLOCK = 3
    WRITE = 4
    MKDIR = 5
    RENAME = 6
    DELETE = 7
    LIST = 8
    OPEN = 9
    START = 10
    SIGNAL = 11
    RELEASE = 12
    DIAL = 13
    DIAL_UNIX = 14
    EXIT = 15


SILENT = frozenset({Op.FILTER, Op.LANDLOCK, Op.RELEASE})
"""Requests that are answered only when they fail."""


class Reply(msgspec.Struct):
    """One answer of init. `fds` belong to whoever takes the reply, and must be closed by it."""

    op: Op
    tag: int
    result: int
    a: int
    payload: bytes
    fds: list[int] = msgspec.field(default_factory=list[int])
    sender: int = 0
    """The sender's pid on the host, as the kernel tells it."""

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds = []


class Pending:
    """A request under way. Init works in order, so waiting for the last of several waits for all."""

    __slots__ = ("_done", "abandoned", "op", "replies", "step", "subject", "tag")

    def __init__(self, op: Op, step: str, subject: str, tag: int) -> None:
        self.op, self.step, self.subject, self.tag = op, step, subject, tag
        self.replies: list[Reply] = []
        self.abandoned = False
        self._done = trio.Event()

    def finish(self) -> None:
        self._done.set()

    def abandon(self) -> None:
        """Nobody waits for this any more: close the descriptors that came or will come with it."""
        self.abandoned = True
        for reply in self.replies:
            reply.close()

    async def wait(self) -> Reply:
        """The (last) reply. Raises InitRefused with the box's errno, or BrokenBox when the box ended first."""
        try:
            if not self._done.is_set():
                await self._done.wait()
        except trio.Cancelled:
            self.abandon()
            raise
        if not self.replies:
            raise BrokenBox(f"the box ended before it could {self.step} {self.subject}".rstrip())
        reply = self.replies[-1]
        if reply.result < 0:
            reply.close()
            raise InitRefused(self.step, -reply.result, self.subject)
        return reply


def socketpair() -> tuple[socket.socket, socket.socket]:
    """Our end and init's. Ours tells the sender of every message, from before init can send its first."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return ours, theirs


class Channel:
    """Requests and replies over our end of a `socketpair`. One task runs `receive`; any task may post requests."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._tag = 0
        self._pending: dict[int, Pending] = {}
        self._unsent: deque[tuple[bytes, Sequence[int]]] = deque()
        self._closed = False

    def post(
        self,
        op: Op,
        step: str,
        *,
        subject: str = "",
        args: tuple[int, ...] = (),
        payload: bytes = b"",
        fds: Sequence[int] = (),
    ) -> Pending:
        """Send a request without waiting for its answer. `fds` stay open until the request is answered.

        `step` and `subject` word the error should it fail. Raises BrokenBox when the channel is closed.
        """
        if self._closed:
            raise BrokenBox(f"cannot {step} {subject or 'in it'}: the box has ended")
        self._tag = self._tag % 0xFFFFFFFF + 1
        message = _REQUEST.pack(op, self._tag, *args, *(0,) * (4 - len(args))) + payload
        if len(message) > MESSAGE_MAX:
            raise InitRefused(step, errno.E2BIG, subject)
        pending = Pending(op, step, subject, self._tag)
        if op not in SILENT:
            self._pending[self._tag] = pending
        self._unsent.append((message, fds))
        self._flush()
        return pending

    def _flush(self) -> None:
        """Send what is queued, as far as the socket has room."""
        while self._unsent:
            message, fds = self._unsent[0]
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                self._socket.sendmsg([message], ancillary)
            except BlockingIOError:
                return
            except OSError:
                self._unsent.clear()  # init is gone: receive() sees the end and fails all pending requests
                return
            self._unsent.popleft()

    async def receive(self, event: Callable[[Reply], None]) -> None:
        """Deliver replies until the socket ends; HELLO, EXIT and failures of silent requests go to `event`.

        Returns when init is gone or the channel is closed. Raises BrokenBox when init says something malformed.
        """
        while not self._closed:
            # A full socket needs no wait of its own: init, which has all those requests to answer, makes room before
            # it answers the first of them.
            self._flush()
            try:
                await trio.lowlevel.wait_readable(self._socket)
            except trio.ClosedResourceError:
                return
            while not self._closed:  # it may have been closed between our waking and our turn
                try:
                    reply = self._receive()
                except BlockingIOError:
                    break
                if reply is None:
                    return
                self._deliver(reply, event)

    def _receive(self) -> Reply | None:
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(MESSAGE_MAX, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return None
        fds, sender = array.array("i"), 0
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % 4])
            elif level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                sender = _CREDENTIALS.unpack(content)[0]
        if not data:
            return None
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(data) < _REPLY.size:
                raise ValueError("truncated")
            op, tag, result, a = _REPLY.unpack_from(data)
            return Reply(Op(op), tag, result, a, data[_REPLY.size :], list(fds), sender)
        except ValueError as problem:
            for fd in fds:
                os.close(fd)
            raise BrokenBox(f"init sent a malformed message of {len(data)} bytes ({problem})") from None

    def _deliver(self, reply: Reply, event: Callable[[Reply], None]) -> None:
        if reply.op in (Op.HELLO, Op.EXIT):
            event(reply)
            return
        if reply.op in SILENT:
            if reply.op is Op.RELEASE:  # the program's leader was gone already
                return
            raise BrokenBox(f"init could not load the {reply.op.name.lower()} layer: {os.strerror(-reply.result)}")
        pending = self._pending.get(reply.tag)
        if pending is None or pending.op is not reply.op:
            reply.close()
            raise BrokenBox(f"init answered {reply.op.name} {reply.tag}, which was not asked")
        pending.replies.append(reply)
        if pending.abandoned:
            reply.close()
        if reply.op is Op.LIST and reply.result == 0 and reply.a == 1:
            return
        del self._pending[reply.tag]
        pending.finish()

    def open(self) -> bool:
        """Whether init has its end open still, which `receive` may not have been told yet."""
        if self._closed:
            return False
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        """Close the socket, which ends init; whatever is still pending fails."""
        if self._closed:
            return
        self._closed = True
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
        self._unsent.clear()
        for pending in self._pending.values():
            pending.finish()
        self._pending.clear()
