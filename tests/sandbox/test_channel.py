"""The daemon's end of init's socket, against an init that we play."""

import re
import socket
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from runnerd.errors import BrokenBox, InitRefused
from runnerd.sandbox import channel as channel_module
from runnerd.sandbox.channel import MESSAGE_MAX, Channel, Op, Reply, socketpair

REQUEST, REPLY = struct.Struct("=6I"), struct.Struct("=IIiI")


def nothing(reply: Reply) -> None:
    raise AssertionError(reply)


async def test_an_answer_finds_its_request() -> None:
    ours, init = socketpair()
    channel = Channel(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.receive, nothing)
        pending = channel.post(Op.MKDIR, "make", subject="x", args=(0o755,), payload=b"x\0")
        op, tag, mode, *_ = REQUEST.unpack_from(init.recv(100))
        assert (op, mode) == (Op.MKDIR, 0o755)
        init.send(REPLY.pack(op, tag, 0, 7))
        assert (await pending.wait()).a == 7
        refused = channel.post(Op.MKDIR, "make", subject="x")
        init.send(REPLY.pack(Op.MKDIR, refused.tag, -28, 0))
        with pytest.raises(InitRefused, match="make x: No space left"):
            await refused.wait()
        channel.close()
    init.close()


@pytest.mark.parametrize(
    "message", [b"x", REPLY.pack(99, 1, 0, 0), REPLY.pack(Op.MKDIR, 5, 0, 0), REPLY.pack(Op.FILTER, 1, -1, 0)]
)
async def test_nonsense_breaks_the_box(message: bytes) -> None:
    ours, init = socketpair()
    channel = Channel(ours)
    init.send(message)
    with pytest.raises(BrokenBox):
        await channel.receive(nothing)
    channel.close()
    init.close()


async def test_descriptors_nobody_waits_for_are_closed() -> None:
    ours, init = socketpair()
    channel = Channel(ours)
    pending = channel.post(Op.OPEN, "open")
    pending.abandon()
    init.recv(100)
    one, other = socket.socketpair()
    socket.send_fds(init, [REPLY.pack(Op.OPEN, pending.tag, 0, 0)], [other.fileno()])
    other.close()
    init.close()
    await channel.receive(nothing)
    assert one.recv(1) == b""  # the last copy of its other end is gone
    one.close()
    channel.close()


async def test_closing_before_the_receiver_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was woken by a message, and the socket closed before it could read that."""
    ours, init = socketpair()
    channel = Channel(ours)

    async def woken(sock: socket.socket) -> None:
        channel.close()

    lowlevel = SimpleNamespace(wait_readable=woken, notify_closing=trio.lowlevel.notify_closing)
    monkeypatch.setattr(
        channel_module, "trio", SimpleNamespace(lowlevel=lowlevel, ClosedResourceError=trio.ClosedResourceError)
    )
    await channel.receive(nothing)
    init.close()


async def test_the_end_fails_what_is_pending() -> None:
    ours, init = socketpair()
    channel = Channel(ours)
    pending = channel.post(Op.LIST, "list", subject="x")
    init.close()
    await channel.receive(nothing)
    channel.close()
    with pytest.raises(BrokenBox, match="before it could list x"):
        await pending.wait()
    with pytest.raises(BrokenBox):
        channel.post(Op.LIST, "list")


def test_numbers_are_those_of_init() -> None:
    header = (Path(channel_module.__file__).parent / "native" / "init.h").read_text()
    listed = re.search(r"INIT_HELLO = 1,(.*?)}", header, re.DOTALL)
    assert listed is not None
    names = ["HELLO", *re.findall(r"INIT_(\w+)", listed[1])]
    assert dict(zip(names, range(1, 100), strict=False)) == {op.name: op.value for op in Op}
    assert "#define INIT_MESSAGE_MAX (96 * 1024)\n" in header
    assert MESSAGE_MAX == 96 * 1024
