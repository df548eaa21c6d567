import socket
import struct

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from runnerd.sandbox import sockdiag
from tests.sandbox.plainbox import plain_box

UNIX, INET = (16, 5), (72, 7)


def message(kind: int, body: bytes) -> bytes:
    data = struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body
    return data + bytes(-len(data) % 4)


def socket_of(fixed: int, wanted: int, numbers: tuple[int, ...], state: int = 1) -> bytes:
    attributes = struct.pack("=HH", 5, 6) + b"\1\0\0\0" + struct.pack("=HH9I", 40, wanted, *numbers)
    return message(20, bytes([0, state]) + bytes(fixed - 2) + attributes)


@pytest.mark.parametrize(("fixed", "wanted"), [UNIX, INET])
def test_what_sockets_hold_is_added(fixed: int, wanted: int) -> None:
    one = socket_of(fixed, wanted, (100, 1, 20, 1, 1, 30, 4, 5, 1))
    other = socket_of(fixed, wanted, (0, 1, 200, 1, 1, 30, 0, 0, 0))
    assert sockdiag.parse(one + other, fixed, wanted) == (139 + 200, 2, False)
    assert sockdiag.parse(one + message(3, b"\0\0\0\0") + other, fixed, wanted) == (139, 1, True)
    assert sockdiag.parse(message(2, b"\0" * 20), fixed, wanted) == (0, 0, True)


@pytest.mark.parametrize("state", [3, 6, 12])
def test_what_has_no_socket_is_not_counted_as_one(state: int) -> None:
    assert sockdiag.parse(socket_of(*INET, (1,) + (0,) * 8, state), *INET)[1] == 0


@given(st.binary(max_size=200))
def test_no_datagram_breaks_it(data: bytes) -> None:
    held, count, _ = sockdiag.parse(data, *UNIX)
    assert held >= 0
    assert 0 <= count <= len(data) // 16


async def test_a_box_without_sockets_is_not_even_asked() -> None:
    with plain_box(["sh", "-c", "echo ready; exec sleep 1000"]) as box:
        box.read_until(b"ready")
        with trio.fail_after(20):
            while sockdiag.in_use(box.handles.proc):  # bubblewrap's own, which the kernel frees a moment later
                await trio.sleep(0.01)
        not_a_socket = box.handles.proc
        assert await sockdiag.memory(box.handles.proc, not_a_socket, 1000) == 0


async def test_a_socket_of_a_kind_that_no_dump_lists_is_taken_to_be_full() -> None:
    code = "import socket, time; s = socket.socket(16, 2, 0); print('ready', flush=True); time.sleep(1000)"
    with plain_box(["python3", "-c", code]) as box:
        box.read_until(b"ready")
        assert sockdiag.in_use(box.handles.proc) == 1
        assert await sockdiag.memory(box.handles.proc, box.handles.diag, 1 << 20) >= 1 << 20


def test_the_largest_queue_is_what_a_socket_may_ask_for() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
        assert sockdiag.largest_queue() >= sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
