"""What kernels of all languages have in common, in real boxes."""

import os
from typing import Any

import pytest
import trio

from runnerd.config import Boxes, Config, Profile
from runnerd.errors import BadRequest, Busy, KernelDied, UnknownLanguage
from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import MiB, Outcome, Window
from runnerd.session.run import Run
from runnerd.session.viewer import Ended, Started, StateChange

from .kernels import Client, client, registering, until_empty

BOTH = pytest.mark.parametrize("language", ["python", "javascript"])


def words(language: str, **by_language: str) -> str:
    return by_language[language]


@BOTH
async def test_variables_imports_and_environment_last(host: Host, language: str) -> None:
    first = words(
        language,
        python="import os\nx = 41\ndef more(n): return n + 1\nos.environ['OWN'] = 'set'\nos.chdir('/tmp')",
        javascript="const os = require('os'); let x = 41; function more(n) { return n + 1 }\n"
        "process.env.OWN = 'set'; process.chdir('/tmp')",
    )
    second = words(
        language,
        python="print(more(x), os.getcwd(), os.environ['OWN'], os.environ['GIVEN'])",
        javascript="console.log(more(x), process.cwd(), process.env.OWN, process.env.GIVEN, typeof os.cpus)",
    )
    async with client(host, language) as one:
        assert await one.out(first, env={"GIVEN": "by run 1"}) == ""
        assert (await one.out(second)).split(" ", 3)[:3] == ["42", "/tmp", "set"]
        assert "by run 1" in await one.out(second)
        assert "by run 4" in await one.out(second, env={"GIVEN": "by run 4"})
        assert one.registry.status().boxes == 1


@BOTH
async def test_arguments_and_files_are_each_runs_own(host: Host, language: str) -> None:
    code = words(
        language,
        python="import sys, helper\nprint(sys.argv, helper.WHO)",
        javascript="console.log(JSON.stringify(process.argv.slice(1)), require('./helper').WHO)",
    )
    name = words(language, python="helper.py", javascript="helper.js")
    text = words(language, python="WHO = 'first'", javascript="exports.WHO = 'first'")
    async with client(host, language) as one:
        assert "first" in await one.out(code, files={name: text.encode()}, args=("a", "b c"))
        again = await one.out(code, args=("d",))
        assert "'d'" in again or '"d"' in again
        assert "b c" not in again
        with pytest.raises(BadRequest, match="no file"):
            await one.begin(code, main="nosuch")
        _, last = await one.run(code, files={"../escape": b""})
        assert (last.outcome, last.code) == (Outcome.FAILED, None)
        assert "../escape" in last.message
        assert "first" in await one.out(code)


@BOTH
async def test_kernels_do_not_share(host: Host, language: str) -> None:
    code = words(language, python="print(x)", javascript="console.log(x)")
    async with registering(host) as registry:
        one, other = Client(registry, language), Client(registry, language)
        await one.out(words(language, python="x = 1", javascript="x = 1"))
        seen, last = await other.run(code)
        assert (last.outcome, last.code) == (Outcome.EXITED, 1)
        assert b"NameError" in seen.stderr or b"ReferenceError" in seen.stderr
        assert await one.out(code) == "1\n"
        assert registry.status().boxes == 2


async def test_one_connection_has_a_kernel_for_each_language(host: Host) -> None:
    async with client(host, "python") as one:
        await one.out("x = 'snake'")
        await one.out("x = 'script'", language="js")
        assert await one.out("print(x)", language="py") == "snake\n"
        assert await one.out("console.log(x)", language="javascript") == "script\n"
        with pytest.raises(BadRequest) as refused:
            await one.begin("echo", language="bash")
        assert "python, javascript" in refused.value.hint
        with pytest.raises(UnknownLanguage):
            await one.begin("", language="cobol")


@BOTH
async def test_a_run_is_told_as_any_session(host: Host, language: str) -> None:
    code = words(
        language,
        python="print(input('name? '))\nprint('end')",
        javascript="const rl = require('readline').createInterface(process.stdin, process.stdout)\n"
        "rl.question('name? ', (name) => { console.log(name); console.log('end'); rl.close() })",
    )
    async with client(host, language) as one:
        for name in ("Ada", "Grace"):
            session, seen = await one.begin(code)
            await seen.until(StateChange("waiting"))
            assert seen.stdout == b"name? "
            await session.write(f"{name}\nleft over\nand no end".encode())
            last = await seen.until(Ended)
            assert seen.stdout.decode() == f"name? {name}\nend\n"
            assert (last.outcome, last.code, last.message, session.state) == (Outcome.EXITED, 0, "", "finished")
            assert isinstance(seen.events[0], Started)
            assert (seen.events[0].session, seen.events[0].mode) == (session.id, "split")
            assert StateChange("running") in seen.events
            assert 0 < last.timings["box"] <= last.timings["program"] <= last.timings["output"] <= last.timings["end"]
            assert last.usage.memory > MiB
        assert one.registry.status().started == 2


@BOTH
async def test_given_input_of_any_length_and_its_end_are_one_runs_own(host: Host, language: str) -> None:
    code = words(
        language,
        python="import sys\nprint(len(sys.stdin.read()))",
        javascript="console.log(require('fs').readFileSync(0, 'utf8').length)",
    )
    ask = words(
        language,
        python="print(input())",
        javascript="process.stdin.once('data', (data) => { process.stdout.write(data); process.stdin.pause() })",
    )
    async with client(host, language) as one:
        assert await one.out(code, stdin=b"x" * 100_000 + b"\n", mode="pipes") == "100001\n"
        assert await one.out(code, stdin=b"") == "0\n"
        session, seen = await one.begin(ask)
        await seen.until(StateChange("waiting"))
        await session.write(b"typed\n")
        await seen.until(Ended)
        assert seen.stdout == b"typed\n"
        session, seen = await one.begin(ask, stdin=b"given\n")
        with pytest.raises(BadRequest) as refused:
            await session.write(b"more\n")
        assert refused.value.code == "input_closed"
        await seen.until(Ended)
        assert seen.stdout == b"given\n"


@BOTH
async def test_the_end_of_typed_input_does_not_reach_the_next_run(host: Host, language: str) -> None:
    code = words(
        language,
        python="import sys\nfor line in sys.stdin: print('got', line.strip())\nprint('over')",
        javascript="process.stdin.setEncoding('utf8').on('data', (text) => console.log('got', text.trim()))\n"
        "process.stdin.on('end', () => console.log('over'))",
    )
    async with client(host, language) as one:
        for text in ("one", "two"):
            session, seen = await one.begin(code)
            await seen.until(StateChange("waiting"))
            await session.write(f"{text}\n".encode())
            await seen.until_output(f"got {text}\n".encode())
            session.close_input()
            session.close_input()
            last = await seen.until(Ended)
            assert (last.outcome, seen.stdout.decode()) == (Outcome.EXITED, f"got {text}\nover\n")


@BOTH
async def test_modes_of_a_terminal_are_put_back(host: Host, language: str) -> None:
    code = words(
        language,
        python="import tty, sys\nprint(input())\ntty.setraw(0)",
        javascript="require('child_process').execSync('stty raw -echo', { stdio: 'inherit' })\nconsole.log('raw')",
    )
    check = words(
        language,
        python="import subprocess; subprocess.run(['stty', '-a'])",
        javascript="require('child_process').execSync('stty -a', { stdio: 'inherit' })",
    )
    async with client(host, language) as one:
        assert " icanon" in await one.out(check)
        session, seen = await one.begin(code)
        await session.write(b"x\n")
        await seen.until(Ended)
        assert " icanon" in await one.out(check)


@BOTH
async def test_an_interrupt_ends_a_busy_loop_and_not_the_kernel(host: Host, language: str) -> None:
    busy = words(
        language,
        python="x = 5\nprint('go')\nwhile True: pass",
        javascript="var x = 5; console.log('go'); try { while (true); } finally { console.log('never') }",
    )
    async with client(host, language) as one:
        for _ in range(2):
            session, seen = await one.begin(busy)
            await seen.until_output(b"go")
            await session.signal("INT")
            last = await seen.until(Ended)
            assert (last.outcome, last.signal, last.code, last.message) == (Outcome.SIGNAL, "INT", None, "")
            assert seen.stdout == b"go\n"
        assert (await one.out(words(language, python="print(x)", javascript="console.log(x)"))) == "5\n"


@BOTH
async def test_an_interrupt_ends_a_wait(host: Host, language: str) -> None:
    waits = words(
        language,
        python="try: input('? ')\nfinally: print('left')",
        javascript="process.stdin.on('data', () => 0); setInterval(() => 0, 100); process.stdout.write('? ')",
    )
    async with client(host, language) as one:
        for _ in range(2):
            session, seen = await one.begin(waits)
            await seen.until(StateChange("waiting"))
            await session.signal("INT")
            last = await seen.until(Ended)
            assert (last.outcome, last.signal) == (Outcome.SIGNAL, "INT")
        assert await one.out(words(language, python="print(1)", javascript="console.log(1)")) == "1\n"


@BOTH
async def test_ctrl_c_in_a_terminal(host: Host, language: str) -> None:
    busy = words(language, python="print('go')\nwhile True: pass", javascript="console.log('go'); for (;;);")
    async with client(host, language) as one:
        session, seen = await one.begin(busy, mode="terminal", window=Window(30, 90))
        await seen.until_output(b"go\r\n")
        await session.write(b"\x03")
        assert (await seen.until(Ended)).signal == "INT"
        with pytest.raises(BadRequest, match="mode terminal"):
            await one.begin(busy, mode="split")
        size = words(
            language,
            python="import os; print(os.get_terminal_size().lines)",
            javascript="console.log(String(process.stdout.rows))",
        )
        assert "31" in await one.out(size, mode="terminal", window=Window(31, 90))


@BOTH
@pytest.mark.parametrize("code", [0, 3, 255])
async def test_exit_codes_do_not_end_the_kernel(host: Host, language: str, code: int) -> None:
    leave = words(
        language,
        python=f"import sys, time\nx = 7\nprint('before')\ntry: sys.exit({code})\nfinally: print('after')",
        javascript=f"x = 7; setInterval(() => 0, 9); console.log('before')\n"
        f"try {{ process.exit({code}) }} catch {{}} finally {{ console.log('after') }}",
    )
    async with client(host, language) as one:
        seen, last = await one.run(leave)
        assert (last.outcome, last.code) == (Outcome.EXITED, code)
        assert seen.stdout == words(language, python="before\nafter\n", javascript="before\n").encode()
        assert await one.out(words(language, python="print(x)", javascript="console.log(x)")) == "7\n"


@BOTH
@pytest.mark.parametrize(
    ("python", "javascript", "outcome", "code", "signal"),
    [
        (
            "import os; print('bye', flush=True); os._exit(3)",
            "console.log('bye'); process.reallyExit(3)",
            "exited",
            3,
            None,
        ),
        (
            "import os; print('bye', flush=True); os.abort()",
            "console.log('bye'); process.abort()",
            "signal",
            None,
            "ABRT",
        ),
    ],
)
async def test_a_kernel_that_dies_is_told_twice_and_then_begins_anew(
    host: Host, language: str, python: str, javascript: str, outcome: str, code: int | None, signal: str | None
) -> None:
    async with client(host, language) as one:
        await one.out("x = 1")
        seen, last = await one.run(words(language, python=python, javascript=javascript))
        assert (last.outcome, last.code, last.signal) == (outcome, code, signal)
        assert seen.stdout == b"bye\n"
        assert last.message == "the code ended its process; the session's variables are lost"
        with pytest.raises(KernelDied, match="variables of this session are lost: the code ended its process") as died:
            await one.begin("x")
        assert (died.value.code, died.value.hint) == ("kernel_died", "the next run begins anew")
        seen, last = await one.run("x")
        assert (last.outcome, last.code) == (Outcome.EXITED, 1)
        assert b"x is not defined" in seen.stderr or b"'x' is not defined" in seen.stderr


@BOTH
@pytest.mark.parametrize(
    ("python", "javascript", "limits", "outcome"),
    [
        (
            "while True: print(end='.', flush=True) or time.sleep(0.02)",
            "setInterval(() => console.log(1), 20)",
            {"wall": 2},
            "wall",
        ),
        ("while True: pass", "for (;;);", {"cpu": 0.5}, "cpu"),
        ("time.sleep(30)", "setTimeout(() => 0, 30000)", {"idle": 2}, "idle"),
        (
            "while True: print('flood' * 100)",
            "for (;;) console.log('flood'.repeat(100))",
            {"output": 100_000},
            "output",
        ),
    ],
)
async def test_limits_are_each_runs_own_and_end_the_kernel(
    host: Host, language: str, python: str, javascript: str, limits: dict[str, float], outcome: str
) -> None:
    async with client(host, language) as one:
        for _ in range(2):
            await one.out(words(language, python="import time", javascript="1"), limits=limits)
        seen, last = await one.run(words(language, python=python, javascript=javascript), limits=limits)
        assert last.outcome == outcome
        assert last.message.endswith("; the session's variables are lost")
        if outcome == "output":
            assert len(seen.stdout) == 100_000
        with pytest.raises(KernelDied):
            await one.begin("1")
        await one.out(words(language, python="print(1)", javascript="console.log(1)"))


async def test_cpu_time_is_counted_from_each_runs_begin(host: Host) -> None:
    burn = "import time\nbegan = time.process_time()\nwhile time.process_time() - began < 0.4: pass"
    async with client(host, "python") as one:
        for _ in range(4):
            _, last = await one.run(burn, limits={"cpu": 1})
            assert last.outcome is Outcome.EXITED
            assert 0.3 < last.usage.cpu < 0.9


@BOTH
async def test_memory_is_the_boxes(host: Host, language: str) -> None:
    hoard = words(
        language,
        python="x = []\nwhile True: x.append(bytes(1 << 20))",
        javascript="const x = []; for (;;) x.push(Buffer.alloc(1 << 20, 1))",
    )
    config = Config(profiles={"default": Profile(memory=128 * MiB)})
    async with client(host, language, config) as one:
        await one.out("1")
        _, last = await one.run(hoard)
        assert last.outcome is Outcome.MEMORY
        with pytest.raises(KernelDied, match="memory"):
            await one.begin("1")


async def test_a_box_that_dies_between_runs_is_told_to_the_next(host: Host) -> None:
    code = (
        "import threading, time\n"
        "def grow():\n    x = []\n    while True: x.append(b'x' * (1 << 20)); time.sleep(0.001)\n"
    )
    config = Config(profiles={"default": Profile(memory=64 * MiB)})
    async with client(host, "python", config) as one:
        await one.out(code + "threading.Thread(target=grow, daemon=True).start()")
        await until_empty(one.registry)
        with pytest.raises(KernelDied, match="limit of memory"):
            await one.begin("1")
        await one.out("1")


async def test_a_kernel_without_runs_ends_after_the_profiles_idle_time(host: Host) -> None:
    config = Config(profiles={"default": Profile(idle=0.5)})
    async with client(host, "python", config) as one:
        await one.out("x = 1")
        assert await one.out("print(x)") == "1\n"
        await until_empty(one.registry)
        with pytest.raises(KernelDied, match=r"no run came for 0\.5 s"):
            await one.begin("print(x)")


async def test_one_run_at_a_time(host: Host) -> None:
    async with client(host, "python") as one:
        session, seen = await one.begin("input()")
        with pytest.raises(Busy):
            await one.begin("1")
        await seen.until(StateChange("waiting"))
        with pytest.raises(Busy):
            await one.begin("1")
        await session.write(b"\n")
        await seen.until(Ended)
        await one.out("1")


@BOTH
async def test_killed_by_its_client(host: Host, language: str) -> None:
    async with client(host, language) as one:
        for message in ("", "enough"):
            session, seen = await one.begin(words(language, python="input()", javascript="setInterval(() => 0, 9)"))
            await seen.until(Started)
            session.kill(message)
            last = await seen.until(Ended)
            assert last.outcome is Outcome.KILLED
            assert last.message == f"{message or 'the run was killed'}; the session's variables are lost"
            with pytest.raises(KernelDied):
                await one.begin("1")


async def test_a_run_that_is_killed_before_its_kernel_is_up(host: Host) -> None:
    async with client(host, "python") as one:
        session, seen = await one.begin("print(1)")
        session.kill()
        assert (await seen.until(Ended)).outcome is Outcome.KILLED
        await until_empty(one.registry)


async def test_its_place_is_counted_and_given_back(host: Host) -> None:
    config = Config(boxes=Boxes(max=1, queue=1, queue_wait=0.05))
    async with registering(host, config) as registry:
        one, other = Client(registry, "python"), Client(registry, "python")
        await one.out("x = 1")
        with pytest.raises(Busy):
            await other.begin("1")
        assert await one.out("print(x)") == "1\n"
        one.kernels.close()
        await until_empty(registry)
        await other.out("1")
        with pytest.raises(KernelDied):
            await one.begin("1")


@pytest.mark.parametrize("running", [False, True])
async def test_closing_ends_everything(host: Host, running: bool) -> None:
    async with client(host, "python") as one:
        session, seen = await one.begin("print('up')\nif " + str(running) + ": input()")
        await seen.until_output(b"up")
        if not running:
            await seen.until(Ended)
        one.kernels.close()
        if running:
            assert (await seen.until(Ended)).outcome is Outcome.KILLED
        await until_empty(one.registry)
        assert one.registry.sessions == {}
        with pytest.raises(KernelDied, match="connection has ended"):
            await one.begin("1")
        assert session.ended is not None


@pytest.mark.parametrize("running", [False, True])
async def test_a_drain_ends_kernels_when_their_run_is_over(host: Host, running: bool) -> None:
    async with client(host, "python") as one:
        session, seen = await one.begin("print('up')\nif " + str(running) + ": input()")
        await seen.until_output(b"up")
        if not running:
            await seen.until(Ended)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.registry.drain, 50)
            if running:
                await trio.testing.wait_all_tasks_blocked()
                await session.write(b"\n")
                assert (await seen.until(Ended)).outcome is Outcome.EXITED
        assert one.registry.status().boxes == 0
        with pytest.raises(Busy):
            await one.begin("1")


@BOTH
async def test_a_megabyte_of_code_and_any_bytes(host: Host, language: str) -> None:
    line = words(language, python="x = 'abc'  # filling\n", javascript="x = 'abc'; // filling\n")
    show = words(language, python="print(x)", javascript="console.log(x)")
    async with client(host, language) as one:
        assert await one.out(line * (1024 * 1024 // len(line)) + show) == "abc\n"
        for hostile in (b"x = 1\0\n", b"\xff\xfe(", b"(" * 100_000, b"'", "'€' ='".encode()):
            seen, last = await one.run(hostile)
            assert (last.outcome, last.code) == (Outcome.EXITED, 1)
            assert b"Error" in seen.stderr
        assert await one.out(show) == "abc\n"
        assert await one.out(b"") == ""
        text = "Grüße 😀 'ok'"
        assert (
            await one.out(words(language, python=f'print("{text}")', javascript=f'console.log("{text}")'))
            == text + "\n"
        )


@BOTH
async def test_output_just_before_the_end_is_never_lost_nor_told_to_the_next_run(host: Host, language: str) -> None:
    code = words(
        language,
        python="import sys\nsys.stdout.write('x' * 300_000 + 'end')\nsys.stderr.write('e' * 300_000 + 'END')",
        javascript="process.stdout.write('x'.repeat(300000) + 'end'); process.stderr.write('e'.repeat(300000) + 'END')",
    )
    async with client(host, language) as one:
        for _ in range(10):
            seen, last = await one.run(code)
            assert last.outcome is Outcome.EXITED
            assert seen.stdout == b"x" * 300_000 + b"end"
            assert seen.stderr == b"e" * 300_000 + b"END"


@BOTH
async def test_output_is_in_order_with_that_of_children(host: Host, language: str) -> None:
    code = words(
        language,
        python="import subprocess\nfor n in range(5):\n"
        "    print('own', n, flush=True); subprocess.run(['echo', 'child', str(n)])",
        javascript="for (let n = 0; n < 5; n++) { console.log('own', String(n));\n"
        "require('child_process').spawnSync('echo', ['child', n], { stdio: 'inherit' }) }",
    )
    async with client(host, language) as one:
        assert (await one.out(code)).split() == " ".join(f"own {n} child {n}" for n in range(5)).split()


@BOTH
async def test_descriptors_that_code_closes(host: Host, language: str) -> None:
    """Its own end a run; the driver's end the kernel, with a clear word."""
    own = words(
        language,
        python="import os\nfor fd in (0, 1, 2): os.close(fd)",
        javascript="const fs = require('fs'); for (const fd of [0, 1, 2]) fs.closeSync(fd)",
    )
    all_ = words(
        language,
        python="import os, time\nos.closerange(3, 1000)\ntime.sleep(30)",
        javascript="const fs = require('fs'); for (const fd of fs.readdirSync('/proc/self/fd')) if (fd > 2) try {\n"
        "if (fs.readlinkSync('/proc/self/fd/' + fd).startsWith('socket:')) fs.closeSync(Number(fd)) } catch {}\n"
        "for (;;);",
    )
    ask = words(
        language,
        python="print(input())",
        javascript="process.stdin.once('data', (data) => { process.stdout.write(data); process.stdin.pause() })",
    )
    async with client(host, language) as one:
        _, last = await one.run(own)
        assert (last.outcome, last.code) == (Outcome.EXITED, 0)
        session, seen = await one.begin(ask)
        await session.write(b"hello\n")
        assert (await seen.until(Ended)).outcome is Outcome.EXITED
        assert seen.stdout == b"hello\n"
        _, last = await one.run(all_)
        assert last.outcome is Outcome.FAILED
        assert "closed its control connection" in last.message
        with pytest.raises(KernelDied):
            await one.begin("1")


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (b"garbage\n", "malformed"),
        (b'{"type": "done", "run": 1}\n', "malformed"),
        (b'{"type": "done", "run": 1, "code": "0"}\n', "malformed"),
        (b'{"type": "done", "run": 1, "code": 256}\n', "malformed"),
        (b'{"type": "done", "run": 99, "code": 0}\n', "run 99 during run 1"),
        (b'{"type": "begun", "run": 1}\n', "twice"),
        (b"[" * 20_000, "without an end of line"),
        (b"\xff\n", "malformed"),
    ],
)
async def test_forged_messages_end_the_kernel_that_sent_them(host: Host, message: bytes, complaint: str) -> None:
    forge = (
        "import os, socket, time\n"
        "for fd in range(3, 64):\n"
        "    try: ours = os.readlink(f'/proc/self/fd/{fd}').startswith('socket:')\n"
        "    except OSError: continue\n"
        f"    if ours: os.write(fd, {message!r})\n"
        "time.sleep(30)\n"
    )
    async with registering(host) as registry:
        one, other = Client(registry, "python"), Client(registry, "python")
        await other.out("x = 1")
        _, last = await one.run(forge)
        assert last.outcome is Outcome.FAILED
        assert complaint in last.message
        assert await other.out("print(x)") == "1\n"


async def test_a_forged_end_is_found_out_by_the_next_run(host: Host) -> None:
    """Who tells its own end early has ended for its client; what comes of it later is told as what it is."""
    forge = (
        "import os, time\n"
        "for fd in range(3, 64):\n"
        "    try: ours = os.readlink(f'/proc/self/fd/{fd}').startswith('socket:')\n"
        "    except OSError: continue\n"
        '    if ours: os.write(fd, b\'{"type": "done", "run": 1, "code": 7}\\n\')\n'
        "time.sleep(0.3)\n"
    )
    async with client(host, "python") as one:
        _, last = await one.run(forge)
        assert (last.outcome, last.code) == (Outcome.EXITED, 7)
        _, last = await one.run("1")
        assert (last.outcome, "Done of run 1 during run 2" in last.message) == (Outcome.FAILED, True)


@BOTH
async def test_the_socket_cannot_be_reached_by_code(host: Host, language: str) -> None:
    code = words(
        language,
        python="import os, socket\ns = socket.socket(socket.AF_UNIX)\n"
        "try: s.connect('/tmp/.kernel')\nexcept OSError as problem: print(problem.strerror)\nprint(os.listdir('/tmp'))",
        javascript="require('net').connect('/tmp/.kernel').on('error', (problem) => console.log(problem.code))\n"
        "console.log(JSON.stringify(require('fs').readdirSync('/tmp')))",
    )
    async with client(host, language) as one:
        out = await one.out(code)
        assert "No such file" in out or "ENOENT" in out
        assert "kernel" not in out


@BOTH
async def test_runs_leave_no_descriptor_behind(host: Host, language: str) -> None:
    code = words(language, python="print(1)", javascript="console.log('1')")
    async with client(host, language) as one:
        await one.out(code)
        before = len(os.listdir("/proc/self/fd"))
        count = words(
            language,
            python="import os; print(len(os.listdir('/proc/self/fd')))",
            javascript="console.log(String(require('fs').readdirSync('/proc/self/fd').length))",
        )
        inside = await one.out(count)
        for number in range(50):
            fields: dict[str, Any] = {"stdin": b"x\n"} if number % 3 == 0 else {}
            assert await one.out(code, **fields) == "1\n"
        assert await one.out(count) == inside
        with trio.fail_after(10):
            while len(os.listdir("/proc/self/fd")) > before:  # a look at the box may be under way in a thread
                await trio.sleep(0.01)
        one.kernels.close()
        await until_empty(one.registry)
        assert len(os.listdir("/proc/self/fd")) < before


async def test_a_command_of_its_own_has_no_kernel(host: Host) -> None:
    async with client(host, "python") as one:
        with pytest.raises(BadRequest):
            await one.registry.start(Run(argv=("/bin/true",)), kernels=one.kernels)
