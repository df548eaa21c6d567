"""Programs over real pipes and PTYs; the test plays the program."""

import os
import select
import termios
import threading
import tty
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
import trio.testing

from runnerd.errors import BadRequest
from runnerd.sandbox.process import Process
from runnerd.sandbox.spec import Mode, Window
from runnerd.session.output import Chunk
from runnerd.session.program import INPUT_MAX, READ_MAX, Program
from runnerd.session.viewer import HIGH_WATER, Feed, Viewer

from .fake_box import descriptors


@dataclass
class Bench:
    program: Program
    process: Process
    feed: Feed
    viewer: Viewer
    stdin: int
    stdout: int
    stderr: int
    nursery: trio.Nursery

    async def output(self, size: int) -> bytes:
        """The next `size` bytes of output, of both channels."""
        data = b""
        while len(data) < size:
            event = await self.viewer.next()
            assert isinstance(event, Chunk)
            data += event.data
        return data

    async def read(self, size: int = 65536) -> bytes:
        await trio.lowlevel.wait_readable(self.stdin)
        return os.read(self.stdin, size)


@asynccontextmanager
async def bench(mode: Mode, limit: int = 1 << 30) -> AsyncGenerator[Bench]:
    ours, theirs = descriptors(mode)
    process = Process(1, 2, mode, ours)
    feed = Feed(limit, lambda: None, lambda: None)
    async with trio.open_nursery() as nursery:
        program = Program(process, feed, nursery)
        yield Bench(program, process, feed, feed.viewer(), *theirs, nursery)
        nursery.cancel_scope.cancel()
    program.close()
    for fd in set(theirs):
        os.close(fd)


@pytest.mark.parametrize("mode", ["terminal", "split", "pipes"])
async def test_output_and_input_pass(mode: Mode) -> None:
    async with bench(mode) as b:
        os.write(b.stdout, b"hello")
        assert await b.output(5) == b"hello"
        b.program.write(b"Ada\n")
        assert await b.read() == b"Ada\n"


async def test_the_channels_of_split_and_pipes_stay_apart() -> None:
    for mode in ("split", "pipes"):
        async with bench(mode) as b:
            os.write(b.stderr, b"no")
            assert await b.viewer.next() == Chunk("stderr", 0, b"no")
            os.write(b.stdout, b"yes")
            assert await b.viewer.next() == Chunk("stdout", 2, b"yes")


async def test_the_echo_is_there_when_write_returns() -> None:
    async with bench("terminal") as b:
        for number in range(50):
            b.program.write(b"k", b.viewer)
            assert b.viewer.poll() == Chunk("stdout", number, b"k")


async def test_a_flood_of_output_arrives_whole_and_other_tasks_get_their_turn() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    for mode in ("terminal", "pipes"):
        async with bench(mode) as b:
            if mode == "terminal":
                tty.setraw(b.stdout)
            data = bytes(range(128)) * 8192
            b.nursery.start_soon(trio.to_thread.run_sync, _write_all, b.stdout, data)
            b.nursery.start_soon(other)
            assert await b.output(len(data)) == data
    assert turns > 20


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


@pytest.mark.parametrize("mode", ["terminal", "pipes"])
async def test_a_program_is_held_while_every_viewer_is_behind_and_then_goes_on(mode: Mode) -> None:
    async with bench(mode) as b:
        if mode == "terminal":
            tty.setraw(b.stdout)
        os.set_blocking(b.stdout, False)

        async def fill() -> int:
            """Write until nothing gets through any more, though the pump has had its turn."""
            written = 0
            while True:
                try:
                    written += os.write(b.stdout, b"x" * 4096)
                except BlockingIOError:
                    before = b.feed.log.end
                    await trio.testing.wait_all_tasks_blocked(0.02)
                    if b.feed.log.end == before and b.feed.stalled:
                        return written

        with trio.fail_after(30):
            written = await fill()
        assert b.feed.stalled
        assert b.feed.log.end < min(written, HIGH_WATER + READ_MAX)
        assert len(await b.output(written)) == written
        assert not b.feed.stalled


async def test_a_character_split_over_reads_is_whole_and_half_a_one_comes_after_a_moment(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with bench("pipes") as b:
        os.write(b.stdout, b"\xe2\x82")
        await trio.testing.wait_all_tasks_blocked()
        os.write(b.stdout, b"\xac")
        assert await b.viewer.next() == Chunk("stdout", 0, "€".encode())
        os.write(b.stdout, b"\xe2\x82")
        assert await b.viewer.next() == Chunk("stdout", 3, b"\xe2\x82")


@pytest.mark.parametrize("mode", ["terminal", "split", "pipes"])
async def test_input_waits_for_a_program_that_does_not_read_up_to_a_bound(mode: Mode) -> None:
    async with bench(mode) as b:
        line = b"x" * 99 + b"\n"
        sent = 0
        with pytest.raises(BadRequest) as caught:
            while sent < 4 * INPUT_MAX:
                b.program.write(line * 100)
                sent += len(line) * 100
        assert caught.value.code == "input_overflow"
        assert INPUT_MAX - 100 * len(line) <= sent < 2 * INPUT_MAX
        b.program.resize(Window(10, 20))
        os.set_blocking(b.stdin, False)
        got = 0
        while got < sent:
            with trio.fail_after(20):
                got += len(await b.read())
        b.program.write(b"more\n")
        assert await b.read() == b"more\n"


async def test_given_input_may_be_larger_than_the_bound() -> None:
    async with bench("pipes") as b:
        b.program.write(b"x" * (INPUT_MAX * 3), bounded=False)
        b.program.close_input()
        got = 0
        while data := await b.read():
            got += len(data)
        assert got == INPUT_MAX * 3


async def test_input_of_a_program_that_has_closed_it_is_thrown_away() -> None:
    async with bench("pipes") as b:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, b.stdin)
        os.close(null)
        b.program.write(b"x")
        os.write(b.stdout, b"on")
        assert await b.output(2) == b"on"


async def test_closing_input_twice_is_no_error_and_writing_after_it_is() -> None:
    async with bench("pipes") as b:
        b.program.write(b"last")
        b.program.close_input()
        b.program.close_input()
        assert await b.read() == b"last"
        assert await b.read() == b""
        with pytest.raises(BadRequest) as caught:
            b.program.write(b"x")
        assert caught.value.code == "input_closed"


@pytest.mark.parametrize(
    ("given", "reads"),
    [(b"", [b""]), (b"line\n", [b"line\n", b""]), (b"half", [b"half", b""]), (b"a\nhalf", [b"a\n", b"half", b""])],
)
async def test_closing_a_terminals_input_ends_it_once_however_the_last_line_stands(
    given: bytes, reads: list[bytes]
) -> None:
    async with bench("terminal") as b:
        if given:
            b.program.write(given)
        b.program.close_input()
        assert [await b.read() for _ in reads] == reads
        poll = select.poll()
        poll.register(b.stdin, select.POLLIN)
        assert poll.poll(0) == [], "no second end waits"


async def test_a_terminals_end_of_input_is_repeated_when_the_program_reads_again() -> None:
    async with bench("terminal") as b:
        assert not b.program.remind(), "its input is open"
        b.program.close_input()
        for _ in range(3):
            assert await b.read() == b""
            assert b.program.remind()


async def test_veof_is_the_terminals_own_and_not_repeated_where_it_is_a_key() -> None:
    async with bench("terminal") as b:
        attributes = termios.tcgetattr(b.stdin)
        attributes[6][termios.VEOF] = b"\x05"
        termios.tcsetattr(b.stdin, termios.TCSANOW, attributes)
        b.program.close_input()
        assert await b.read() == b""
        tty.setraw(b.stdin)
        assert not b.program.remind()
        poll = select.poll()
        poll.register(b.stdin, select.POLLIN)
        assert poll.poll(0) == []


async def test_the_end_of_input_comes_after_all_that_still_waits() -> None:
    async with bench("terminal") as b:
        for _ in range(100):
            b.program.write(b"x" * 999 + b"\n")
        b.program.close_input()
        got = 0
        while data := await b.read():
            got += len(data)
        assert got == 100_000


async def test_all_output_before_the_end_is_taken_and_drained_tells_that_nothing_can_follow() -> None:
    async with bench("pipes") as b:
        os.write(b.stdout, b"x" * 65536)
        os.write(b.stderr, b"\xe2")
        os.dup2(b.stdin, b.stdout)
        assert not b.program.drained.is_set()
        os.dup2(b.stdin, b.stderr)
        await b.program.drained.wait()
        b.program.take_rest()
        assert b.feed.log.end == 65537


async def test_what_comes_after_the_end_is_not_logged() -> None:
    """From whoever still has the descriptors, though the tasks that read them have not been cancelled yet."""
    async with bench("pipes") as b:
        await trio.testing.wait_all_tasks_blocked()
        os.write(b.stdout, b"before")
        b.program.take_rest()
        os.write(b.stdout, b"after")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert b.feed.log.end == 6


async def test_what_a_terminal_has_not_delivered_yet_is_taken_too() -> None:
    for _ in range(50):
        async with bench("terminal") as b:
            tty.setraw(b.stdout)
            os.set_blocking(b.stdout, False)
            size = os.write(b.stdout, b"x" * 60_000)
            b.program.take_rest()
            assert b.feed.log.end == size


@pytest.mark.parametrize("mode", ["terminal", "split"])
async def test_settling_logs_what_was_written_before_unless_nobody_reads(mode: Mode) -> None:
    for _ in range(20):
        async with bench(mode) as b:
            os.write(b.stderr, b"late")
            assert b.program.settle()
            assert b.viewer.poll() == Chunk("stdout" if mode == "terminal" else "stderr", 0, b"late")
            b.feed.append("stdout", b"x" * (HIGH_WATER + 1))
            os.write(b.stdout, b"unread")
            assert not b.program.settle()


async def test_a_stray_that_writes_without_end_cannot_hold_up_the_end() -> None:
    stop = threading.Event()

    def flood(fd: int) -> None:
        while not stop.is_set():
            os.write(fd, b"y" * 4096)

    async with bench("pipes") as b, trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, flood, b.stdout)
        await b.viewer.next()
        b.program.take_rest()
        b.viewer.close()  # the pump goes on, and so does the flood to its end
        stop.set()
