"""The terminal of a space in a real box."""

from contextlib import suppress
from pathlib import Path

import pytest
import trio

from runnerd.errors import BadRequest, Forbidden, NotFound
from runnerd.sandbox import procfs
from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import Outcome
from runnerd.session.members import Left, Over
from runnerd.session.output import Chunk
from runnerd.session.space import Space
from runnerd.session.viewer import Ended, StateChange

from .spaces import Inside, opened


async def test_a_terminal_without_echo_and_in_order(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        look = "pwd; tty; test -t 0 -a -t 1 -a -t 2; stty -a | tr ' ;' '\\n\\n' | grep -x -- -echo"
        assert await ada.out(look) == "/work\n/dev/pts/1\n-echo\n"
        both = "for n in 1 2 3; do echo out; echo err >&2; done; echo $TERM; echo $0; printf '\\r\\033[31mred'"
        assert await ada.out(both) == "out\nerr\n" * 3 + "xterm-256color\nbash\n\r\x1b[31mred"
        assert (await ada.run("nonsense"))[0] == "bash: line 1: nonsense: command not found\n"
        assert (await ada.run("if"))[1].code == 2
        out, last = await ada.run('echo "$@" \'$0\' "it\'s"; exit 3')
        assert (out, last.code) == ("$0 it's\n", 3)


async def test_the_languages_of_this_host_are_at_hand(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        assert await ada.out("python -c 'print(1)'; node -e 'process.stdout.write(String(2))'") == "1\n2"


async def test_input_line_by_line(host: Host) -> None:
    async with opened(host) as space:
        ada, bob = Inside(space), Inside(space, "bob", host=False)
        seen = await ada.start("read -p 'one? ' a; read -p 'two? ' b; echo $a $b")
        await seen.until_output(b"one? ")
        await seen.until(StateChange("waiting"))
        await space.shell(ada.member, "first")
        await seen.until_output(b"two? ")
        await space.shell(bob.member, "second")  # before it is known to wait
        await seen.until(Ended)
        assert seen.stdout == b"one? two? first second\n"
        kinds = [each.data if isinstance(each, Chunk) else each.state for each in seen.events[1:-1]]
        at = kinds.index(b"two? ")
        assert kinds[at + 1] == "waiting", "what is typed ends the prompt's line"


async def test_what_is_typed_before_the_program_runs_is_kept(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        seen = await ada.start("read a; echo got $a")
        await space.shell(ada.member, "early")
        await seen.until(Ended)
        assert seen.stdout == b"got early\n"


@pytest.mark.parametrize(
    ("key", "outcome", "name"),
    [(b"\x03", Outcome.SIGNAL, "INT"), (b"\x1c", Outcome.SIGNAL, "QUIT"), (b"\x04", Outcome.EXITED, None)],
)
async def test_keys(host: Host, key: bytes, outcome: Outcome, name: str | None) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        seen = await ada.start("echo up; exec cat")
        await seen.until_output(b"up")
        await seen.until(StateChange("waiting"))
        await space.press(ada.member, key)
        last = await seen.until(Ended)
        assert (last.outcome, last.signal) == (outcome, name)
        assert await ada.out("echo next") == "next\n"


def shown(space: Space) -> str:
    """The processes of a space: what their signals, groups and states are."""
    box = space._box
    assert box is not None
    handles = box.handles
    assert handles is not None
    said: list[str] = []
    for pid in procfs.processes(handles.proc):
        with suppress(OSError):
            folder = Path(f"/proc/self/fd/{handles.proc}/{pid}")
            lines = (folder / "status").read_text().splitlines()
            said.append((folder / "stat").read_text())
            said += [line for line in lines if line.startswith(("Sig", "ShdPnd"))]
    return "\n".join(said)


FOREGROUND = "import signal, time; signal.signal(2, signal.SIG_DFL); print('up', flush=True); time.sleep(100)"


async def test_interrupts_go_to_the_foreground(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        seen = await ada.start(f"trap 'echo caught' INT; python3 -c \"{FOREGROUND}\"; echo after")
        await seen.until_output(b"up")
        await space.press(ada.member, b"\x03")
        with trio.move_on_after(20):
            await seen.until(Ended)
        assert seen.stdout.split() == [b"up", b"caught", b"after"], shown(space)


async def test_a_stopped_program_can_be_killed(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        seen = await ada.start("echo up; sleep 100")
        await seen.until_output(b"up")
        await space.press(ada.member, b"\x1a")
        space.kill_program(ada.member)
        assert (await seen.until(Ended)).outcome is Outcome.KILLED
        assert await ada.out("pgrep sleep; echo gone") == "gone\n"


async def test_kill_ends_all_that_was_started(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        several = "setsid sleep 100 & (sleep 100 & sleep 100 &) ; nohup sleep 100 & echo up; wait"
        seen = await ada.start(f"trap '' HUP INT TERM QUIT; {several}")
        await seen.until_output(b"up")
        space.kill_program(ada.member)
        space.kill_program(ada.member)
        last = await seen.until(Ended)
        assert (last.outcome, last.message) == (Outcome.KILLED, "killed by a member")
        assert await ada.out("pgrep sleep; echo gone") == "gone\n"


async def test_kill_before_it_has_started(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        for _ in range(20):
            seen = await ada.start("echo up > up; sleep 100")
            space.kill_program(ada.member)
            assert (await seen.until(Ended)).outcome is Outcome.KILLED
        assert await ada.out("pgrep sleep; echo gone") == "gone\n"


async def test_a_fork_bomb_can_be_killed(host: Host) -> None:
    async with opened(host, profiles={"space": {"processes": 40}}) as space:
        ada = Inside(space)
        seen = await ada.start("echo up; bomb() { bomb & bomb; }; bomb 2>/dev/null")
        await seen.until_output(b"up")
        await trio.sleep(0.3)
        space.kill_program(ada.member)
        assert (await seen.until(Ended)).outcome in (Outcome.KILLED, Outcome.PROCESSES)
        with trio.fail_after(20):
            assert await ada.out("echo alive") == "alive\n"


async def test_what_is_left_in_the_background(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        await ada.out("sleep 100 & disown; nohup sleep 200 >/dev/null 2>&1 & sleep 0.1")
        with trio.fail_after(10):
            while (left := await ada.out("pgrep -fa '^sleep [12]00' | cut -d' ' -f2-")) != "sleep 200\n":
                assert left == "sleep 100\nsleep 200\n"


async def test_its_output_limit_ends_a_program_and_not_the_space(host: Host) -> None:
    async with opened(host, profiles={"space": {"output": 100_000}}) as space:
        ada = Inside(space)
        for _ in range(2):
            out, last = await ada.run("yes")
            assert (last.outcome, len(out)) == (Outcome.OUTPUT, 100_000)
        assert await ada.out("echo alive") == "alive\n"


async def test_commands_that_cannot_be(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        with pytest.raises(BadRequest, match="NUL"):
            await space.shell(ada.member, "echo a\0b")
        with pytest.raises(NotFound) as caught:
            await space.press(ada.member, b"\x03")
        assert caught.value.code == "not_running"
        with pytest.raises(NotFound):
            space.kill_program(ada.member)
        _, last = await ada.run("#" * 200_000)
        assert last.outcome is Outcome.FAILED
        assert "Argument list too long" in last.message
        assert await ada.out("echo alive") == "alive\n"


async def test_many_programs_one_after_another(host: Host) -> None:
    """More than init knows at a time, so that each must be let go of."""
    async with opened(host) as space:
        ada = Inside(space)
        for number in range(100):
            assert await ada.out(f"echo {number}") == f"{number}\n"


async def test_who_comes_later_sees_the_program_from_its_beginning(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        seen = await ada.start("echo up; read a; echo $a")
        await seen.until_output(b"up")
        bob = Inside(space, "bob", host=False)
        viewer = await bob.member.program()
        await space.shell(bob.member, "typed")
        await seen.until(Ended)
        event, text = None, b""
        while not isinstance(event, Ended):
            event = await viewer.next()
            text += event.data if isinstance(event, Chunk) else b""
        assert text == seen.stdout == b"up\ntyped\n"


async def test_a_program_goes_on_with_nobody_there(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        await space.shell(ada.member, "sleep 0.1; echo done > done")
        space.leave(ada.member)
        while space.run is not None:
            await trio.sleep(0.01)
        assert await space.files.read("done") == b"done\n"


async def test_only_the_host_may_type_where_that_is_configured(host: Host) -> None:
    async with opened(host, spaces={"host_only": True}) as space:
        ada, bob = Inside(space), Inside(space, "bob", host=False)
        with pytest.raises(Forbidden):
            await space.shell(bob.member, "echo")
        seen = await ada.start("echo up; cat")
        await seen.until_output(b"up")
        with pytest.raises(Forbidden):
            await space.press(bob.member, b"\x03")
        with pytest.raises(Forbidden):
            space.kill_program(bob.member)
        await space.press(ada.member, b"\x03")
        assert (await seen.until(Ended)).signal == "INT"
        bob.write("file", b"x")
        assert await ada.out("cat file") == "x"


async def test_its_box_ends(host: Host) -> None:
    """By its memory: programs and files count together."""
    async with opened(host, profiles={"space": {"memory": "64MiB", "tmp": "1GiB"}}) as space:
        ada = Inside(space)
        await space.shell(ada.member, "python3 -c 'x = bytearray(1000000000)'; sleep 100")
        over = await ada.hear(Over)
        assert "memory" in over.error.message
        with pytest.raises(type(over.error)):
            await space.shell(ada.member, "echo")
        with pytest.raises(type(over.error)):
            space.files.write("a", b"", lambda problem: None)
        with pytest.raises(type(over.error)):
            Inside(space)


async def test_a_leaver_is_gone_at_once(host: Host) -> None:
    async with opened(host) as space:
        ada, bob = Inside(space), Inside(space, "bob", host=False)
        seen = await ada.start("echo up; cat")
        await seen.until_output(b"up")
        assert space.run is not None
        before = len(space.run.feed.viewers)
        space.leave(bob.member)
        assert (await ada.hear(Left)).who is bob.member
        assert len(space.run.feed.viewers) == before - 1
