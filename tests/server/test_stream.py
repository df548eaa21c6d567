import socket

import pytest
import trio
import trio.testing
from server_fakes import read_all
from trio.testing import MockClock

from runnerd.server.stream import CHUNK, LINGER, SEND_BUFFER, UNSENT, ConnectionStream


def pair(*, send_deadline: float = 5) -> tuple[ConnectionStream, trio.SocketStream]:
    ours, theirs = socket.socketpair()
    stream = ConnectionStream(trio.SocketStream(trio.socket.from_stdlib_socket(ours)), send_deadline=send_deadline)
    return stream, trio.SocketStream(trio.socket.from_stdlib_socket(theirs))


async def test_the_head_is_received_again_before_what_follows() -> None:
    stream, peer = pair()
    async with stream, peer:
        await peer.send_all(b"after")
        stream.replay(b"before")
        assert await stream.receive_some(3) == b"bef"
        assert await stream.receive_some() == b"ore"
        stream.replay(b"again")
        assert await stream.receive_some() == b"again"
        assert await stream.receive_some() == b"after"


async def test_who_connected_is_known() -> None:
    stream, peer = pair()
    async with stream, peer:
        assert (stream.peer, stream.asked.address) == ("unix", "unix")
    listeners = await trio.open_tcp_listeners(0, host="::1")
    async with listeners[0]:
        port = listeners[0].socket.getsockname()[1]
        async with await trio.open_tcp_stream("::1", port), await listeners[0].accept() as accepted:
            assert ConnectionStream(accepted, send_deadline=5).peer == "::1"


async def test_much_more_than_the_kernel_holds_arrives_whole() -> None:
    stream, peer = pair()
    data = bytes(range(256)) * (CHUNK // 16)
    received = bytearray()

    async def read() -> None:
        received.extend(await read_all(peer))

    async with stream, peer, trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await stream.send_all(data)
        await stream.send_eof()
    assert received == data


async def test_a_peer_that_takes_nothing_is_dropped(autojump_clock: MockClock) -> None:
    stream, peer = pair(send_deadline=5)
    async with stream, peer:
        begun = trio.current_time()
        with pytest.raises(trio.BrokenResourceError, match="took nothing for 5 s"):
            await stream.send_all(b"x" * 4_000_000)
        assert trio.current_time() - begun >= 5
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"more")


async def test_the_deadline_holds_in_a_shield(autojump_clock: MockClock) -> None:
    stream, peer = pair(send_deadline=5)
    async with stream, peer:
        with pytest.raises(trio.BrokenResourceError), trio.CancelScope(shield=True) as scope:
            scope.cancel()
            with trio.CancelScope(shield=True):
                await stream.send_all(b"x" * 4_000_000)


async def test_a_peer_that_left_breaks_the_stream() -> None:
    stream, peer = pair()
    async with stream:
        await peer.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"x")


async def test_a_refused_peer_can_read_why_while_it_still_sends() -> None:
    stream, peer = pair()
    answer = bytearray()

    async def refuse() -> None:
        await stream.send_all(b"no")
        await stream.linger()
        await stream.aclose()

    async with peer, trio.open_nursery() as nursery:
        nursery.start_soon(refuse)
        for _ in range(100):
            await peer.send_all(b"x" * CHUNK)
        await peer.send_eof()
        answer.extend(await read_all(peer))
    assert answer == b"no"


async def test_lingering_ends(autojump_clock: MockClock) -> None:
    stream, peer = pair()
    async with stream, peer:
        begun = trio.current_time()
        await stream.linger()
        assert trio.current_time() - begun == pytest.approx(LINGER)


async def test_little_waits_unsent_where_it_shall_not_grow_old() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    client = await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1])
    stream = ConnectionStream(await listeners[0].accept(), send_deadline=5)
    before = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    stream.keep_little_unsent()
    assert stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * SEND_BUFFER < before
    assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT
    for each in (stream, client, listeners[0]):
        await each.aclose()
