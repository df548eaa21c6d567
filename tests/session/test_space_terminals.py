"""The terminals of a space in a real box."""

import pytest
import trio

from runnerd.errors import BadRequest, Busy, Forbidden, NotFound
from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import Outcome, Window
from runnerd.session.output import Chunk
from runnerd.session.space import Space
from runnerd.session.terminal import Seat
from runnerd.session.viewer import Ended, Resized, StateChange

from .spaces import Inside, opened
from .test_session_real import Watching


class Sitting(Watching):
    """Sits before a terminal."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat.viewer)
        self.seat = seat

    async def type(self, line: str, until: str) -> None:
        """Type a line, and wait for what comes of it."""
        await self.seat.write(line.encode() + b"\n")
        await self.until_output(until.encode())


def sit(space: Space, by: Inside, name: str | None = None, window: Window | None = None) -> Sitting:
    window = window or Window()
    return Sitting(Seat(space.open_terminal(by.member, name, window), window, 0, read_only=False))


def join(seat: Seat, rows: int, cols: int, *, offset: int = 0, read_only: bool = False) -> Sitting:
    return Sitting(Seat(seat.terminal, Window(rows, cols), offset, read_only=read_only))


async def test_a_real_terminal_in_the_work_tree(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        ada.write("here", b"")
        seen = sit(space, ada, window=Window(30, 90))
        await seen.type("echo $((1+1))=$(pwd)=$(tty)=$(ls)=$TERM=$(stty size)=$-", "2=/work=/dev/pts/")
        await seen.type("stty -a | tr ' ;' '\\n\\n' | grep -x echo; python -c 'print(40+2)'", "\recho\r\n42\r\n")
        assert b"=here=xterm-256color=30 90=himBHs\r\n" in seen.stdout
        await seen.type("sleep 100 & jobs; fg", "sleep 100\r\n")
        await seen.until_output(b"Running")
        while b"Stopped" not in seen.stdout:  # it may not be in the foreground yet
            await seen.seat.write(b"\x1a")
            with trio.move_on_after(0.2):
                await seen.until_output(b"Stopped")
        await seen.seat.write(b"kill -9 %1; exec sh -c 'exit 3'\n")
        last = await seen.until(Ended)
        assert (last.outcome, last.code) == (Outcome.EXITED, 3)
        assert not space.terminals.terminals
        assert await ada.out("ls -A") == "here\n", "no history in the tree"


async def test_it_is_as_large_as_its_smallest_viewer(host: Host) -> None:
    async with opened(host) as space:
        seen = sit(space, Inside(space), window=Window(40, 100))
        terminal = seen.seat.terminal
        await seen.type("stty size", "40 100\r\n")
        low, narrow = join(seen.seat, 20, 120), join(seen.seat, 50, 70)
        assert terminal.window == Window(20, 70)
        looker = join(seen.seat, 5, 5, read_only=True)
        assert terminal.window == Window(20, 70), "who only looks does not count"
        await seen.until(Resized(Window(20, 70)))
        await seen.type("stty size", "20 70\r\n")
        low.seat.close()
        assert terminal.window == Window(40, 70)
        narrow.seat.resize(Window(10, 60))
        seen.seat.resize(Window(9, 61))
        assert terminal.window == Window(9, 60)
        narrow.seat.close()
        narrow.seat.close()  # twice is no error
        await seen.type("stty size", "9 61\r\n")
        seen.seat.close()
        assert terminal.window == Window(9, 61), "it stays, since nobody counts"
        await looker.until_output(b"9 61\r\n")


async def test_it_goes_on_when_nobody_looks(host: Host) -> None:
    async with opened(host) as space:
        seen = sit(space, Inside(space))
        await seen.type("echo first; read line; echo got $line", "first\r\n")
        offset = seen.viewer.offset
        seen.seat.close()
        await seen.seat.terminal.write(b"typed\n")
        again = join(seen.seat, 24, 80)
        await again.until_output(b"got typed\r\n")
        assert again.stdout.startswith(seen.stdout), "scrollback"
        later = join(seen.seat, 24, 80, offset=offset)
        await later.until_output(b"got typed\r\n")
        first = next(event for event in later.events if isinstance(event, Chunk))
        assert first.offset == offset
        assert b"first" not in later.stdout


async def test_who_only_looks_cannot_do_anything_else(host: Host) -> None:
    async with opened(host) as space:
        seen = sit(space, Inside(space))
        looker = join(seen.seat, 24, 80, read_only=True)
        for attempt in (looker.seat.close_input, looker.seat.kill):
            with pytest.raises(Forbidden):
                attempt()
        with pytest.raises(Forbidden):
            await looker.seat.write(b"echo no\n")
        with pytest.raises(Forbidden):
            await looker.seat.signal("KILL")
        looker.seat.resize(Window(3, 3))
        await seen.type("echo y''es", "yes\r\n")
        await looker.until_output(b"yes\r\n")
        assert b"no" not in seen.stdout
        assert seen.seat.terminal.window == Window()


async def test_only_the_host_may_use_them_where_that_is_configured(host: Host) -> None:
    async with opened(host, spaces={"host_only": True}) as space:
        ada, bob = Inside(space), Inside(space, "bob", host=False)
        assert (space.may_type(ada.member), space.may_type(bob.member)) == (True, False)
        with pytest.raises(Forbidden):
            space.open_terminal(bob.member, None, Window())
        sit(space, ada)
        with pytest.raises(Forbidden):
            space.close_terminal(bob.member, "1")
        space.close_terminal(ada.member, "1")


async def test_names_and_how_many(host: Host) -> None:
    async with opened(host, spaces={"terminals": 3}) as space:
        ada = Inside(space)
        seen = [sit(space, ada), sit(space, ada, "tests"), sit(space, ada)]
        assert [each.name for each in space.terminals.terminals] == ["1", "tests", "2"]
        with pytest.raises(Busy, match="3 terminals are open"):
            sit(space, ada)
        space.close_terminal(ada.member, "1")
        version = space.terminals.version
        assert (await seen[0].until(Ended)).outcome is Outcome.KILLED
        assert await space.terminals.changed(version - 1) == space.terminals.version
        with pytest.raises(BadRequest) as caught:
            sit(space, ada, "tests")
        assert caught.value.code == "exists"
        with pytest.raises(NotFound):
            space.close_terminal(ada.member, "1")
        assert sit(space, ada).seat.terminal.name == "1"


async def test_they_are_apart_and_go_with_the_space(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        one, two = sit(space, ada), sit(space, ada)
        await one.type("echo $((100+1)); sleep 100 & sleep 100", "101\r\n")
        await two.type("echo $((200+2))", "202\r\n")
        space.terminals.find("1").kill()
        await one.until(Ended)
        await two.type("pgrep -c sleep; echo alive$((1))", "alive1\r\n")
        assert b"\r0\r\n" in two.stdout, "all that was started there went with it"
        assert b"101" not in two.stdout
        space.kill("the test is over")
        last = await two.until(Ended)
        assert last.outcome in (Outcome.KILLED, Outcome.FAILED)


async def test_signals_and_interrupts(host: Host) -> None:
    async with opened(host) as space:
        seen = sit(space, Inside(space))
        await seen.type("sh -c 'trap \"echo caught; exit\" INT; echo up$((1)); sleep 100 & wait'", "up1\r\n")
        await seen.seat.signal("INT")
        await seen.until_output(b"caught\r\n")
        await seen.type("echo alive$((1))", "alive1\r\n")


async def test_a_terminal_that_waits_at_its_prompt_is_no_other_programs_waiting(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        seen = sit(space, ada)
        await seen.type("echo prompt$((1))", "prompt1\r\n")
        program = await ada.start("printf part; sleep 0.6; read -p ? line; echo $line")
        await program.until_output(b"part")
        with trio.move_on_after(0.4):
            await program.until(StateChange("waiting"))
            pytest.fail("the terminal waits, and not the program")
        await program.until(StateChange("waiting"))
        assert program.stdout == b"part?"
        await space.shell(ada.member, "typed")
        await program.until(Ended)


async def test_a_flood_ends_and_long_use_does_not(host: Host) -> None:
    async with opened(host, profiles={"space": {"output": 100_000}}) as space:
        seen = sit(space, Inside(space))
        for number in range(4):
            await seen.type(f"head -c 50000 /dev/zero | tr '\\0' x; echo end$((10+{number}))", f"end{10 + number}\r\n")
        await seen.seat.write(b"yes\n")
        assert (await seen.until(Ended)).outcome is Outcome.OUTPUT


async def test_a_viewer_that_reads_nothing_does_not_stop_the_others(host: Host) -> None:
    async with opened(host) as space:
        seen = sit(space, Inside(space))
        join(seen.seat, 24, 80, read_only=True)
        size = 5_000_000  # more than is kept for it
        await seen.seat.write(f"head -c {size} /dev/zero | tr '\\0' x; echo over$((1))\n".encode())
        await seen.until_output(b"over1\r\n")
        assert len(seen.stdout) > size


async def test_its_output_keeps_the_space_from_being_idle(host: Host) -> None:
    async with opened(host, profiles={"space": {"idle": 0.5}}) as space:
        seen = sit(space, Inside(space))
        began = trio.current_time()
        await seen.type("for n in 1 2 3 4 5 6 7; do sleep 0.1; echo now$n; done", "now7\r\n")
        assert trio.current_time() - began > 0.5
        assert not space.reason
        await space.over.wait()
        assert "no input or output" in space.reason


async def test_who_does_not_watch_the_shared_terminal_does_not_hold_it_up(host: Host) -> None:
    async with opened(host) as space:
        space.join("bob", "", host=True, watches=False)
        ada = space.join("ada", "", host=True, watches=False)
        await space.shell(ada, "head -c 2000000 /dev/zero; echo done > done")
        while space.run is not None:
            assert not space.run.feed.viewers
            await trio.sleep(0.01)
        assert await space.files.read("done") == b"done\n"
