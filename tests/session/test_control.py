"""What the daemon makes of a driver's messages, without a driver."""

import base64
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from runnerd.errors import KernelDied
from runnerd.session.control import LINE_MAX, Begun, Control, Done, Refused


@asynccontextmanager
async def connected() -> AsyncGenerator[tuple[Control, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    control = Control(ours)
    with theirs, trio.fail_after(10):
        yield control, theirs
    control.close()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"type": "begun", "run": 3}', Begun(3)),
        (b'{"run": 3, "code": 255, "type": "done"}', Done(3, 255)),
        (b'{"type": "done", "run": 3, "code": null}', Done(3, None)),
        (b'{"type": "refused", "run": 3, "message": "no"}', Refused(3, "no")),
    ],
)
async def test_messages_whole_in_pieces_and_together(line: bytes, message: object) -> None:
    async with connected() as (control, driver):
        driver.sendall(line + b"\n" + line + b"\n" + line[:5])
        assert await control.answer(3) == message
        assert await control.answer(3) == message
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                assert await control.answer(3) == message

            await trio.testing.wait_all_tasks_blocked()
            driver.sendall(line[5:] + b"\n")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b'{"type": "begun"}',
        b'{"type": "begun", "run": 3, "more": 1}',
        b'{"type": "begun", "run": "3"}',
        b'{"type": "begun", "run": 3.0}',
        b'{"type": "begun", "run": 99999999999999999999999999}',
        b'{"type": "done", "run": 3}',
        b'{"type": "done", "run": 3, "code": -1}',
        b'{"type": "done", "run": 3, "code": 256}',
        b'{"type": "done", "run": 3, "code": true}',
        b'{"type": "refused", "run": 3, "message": "' + b"x" * 1001 + b'"}',
        b'{"type": "refused", "run": 3, "message": "\xff"}',
        b'{"type": "started", "run": 3}',
        b"[" * 5000,
    ],
)
async def test_what_is_not_right_is_told_as_malformed(line: bytes) -> None:
    async with connected() as (control, driver):
        driver.sendall(line + b"\n")
        with pytest.raises(KernelDied, match="malformed"):
            await control.answer(3)


async def test_another_run_an_endless_line_and_the_end() -> None:
    async with connected() as (control, driver):
        driver.sendall(b'{"type": "begun", "run": 4}\n')
        with pytest.raises(KernelDied, match="Begun of run 4 during run 3"):
            await control.answer(3)
    async with connected() as (control, driver):
        driver.sendall(b"x" * (2 * LINE_MAX))
        with pytest.raises(KernelDied, match="without an end of line"):
            await control.answer(3)
    async with connected() as (control, driver):
        driver.sendall(b'{"type": "beg')
        driver.close()
        with pytest.raises(KernelDied, match="closed"):
            await control.answer(3)


@given(st.binary(max_size=200).filter(lambda data: b"\n" not in data))
def test_any_line_is_a_message_or_a_clear_error(line: bytes) -> None:
    async def feed() -> None:
        async with connected() as (control, driver):
            driver.sendall(line + b"\n")
            with pytest.raises(KernelDied):
                await control.answer(3)

    trio.run(feed)


async def test_a_request_carries_any_bytes() -> None:
    async with connected() as (control, driver):
        await control.run(1, b"\xff\0\n", "main.py", ("é", "b c"), {"A": "\n"}, b"\0")
        request = json.loads(driver.recv(65536))
    assert base64.b64decode(request.pop("code")) == b"\xff\0\n"
    assert base64.b64decode(request.pop("stdin")) == b"\0"
    assert request == {"run": 1, "main": "main.py", "args": ["é", "b c"], "env": {"A": "\n"}}


async def test_a_driver_that_is_gone_takes_no_request() -> None:
    async with connected() as (control, driver):
        driver.close()
        with pytest.raises(KernelDied):
            await control.run(1, b"x" * 10_000_000, "main.py", (), {}, None)
