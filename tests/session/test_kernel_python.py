"""Python's kernel."""

import pytest

from runnerd.sandbox.host import Host
from runnerd.sandbox.spec import Outcome
from runnerd.session.viewer import Ended

from .kernels import client


async def test_tracebacks_are_those_of_python_and_show_no_driver(host: Host) -> None:
    async with client(host, "python") as one:
        await one.out("def fail():\n    return 1 / 0")
        seen, last = await one.run("\nfail()")
        assert last.code == 1
        assert seen.stdout == b""
        assert seen.stderr.decode().splitlines() == [
            "Traceback (most recent call last):",
            '  File "<run 2>", line 2, in <module>',
            "    fail()",
            '  File "<run 1>", line 2, in fail',
            "    return 1 / 0",
            "           ~~^~~",
            "ZeroDivisionError: division by zero",
        ]
        seen, last = await one.run("x = 1\nif x\n")
        assert last.code == 1
        assert seen.stderr.decode().splitlines() == [
            '  File "<run 3>", line 2',
            "    if x",
            "        ^",
            "SyntaxError: expected ':'",
        ]
        seen, _ = await one.run("try: 1 / 0\nexcept Exception as e: raise KeyError('k') from e")
        assert b"direct cause" in seen.stderr
        assert b"python-kernel" not in seen.stderr
        seen, _ = await one.run("def deep(): deep()\ndeep()")
        assert b"RecursionError" in seen.stderr
        seen, last = await one.run("class E(Exception):\n    def __str__(self): raise ValueError\nraise E")
        assert (last.outcome, last.code) == (Outcome.EXITED, 1)
        assert b"E: <exception str() failed>" in seen.stderr


async def test_an_interrupts_traceback(host: Host) -> None:
    async with client(host, "python") as one:
        session, seen = await one.begin("print('go')\nwhile True: pass")
        await seen.until_output(b"go")
        await session.signal("INT")
        await seen.until(Ended)
        lines = seen.stderr.decode().splitlines()
        assert (lines[0], lines[1].split(",")[0], lines[-1]) == (
            "Traceback (most recent call last):",
            '  File "<run 1>"',
            "KeyboardInterrupt",
        )
        assert b"python-kernel" not in seen.stderr


async def test_interrupts_that_code_handles(host: Host) -> None:
    caught = "try:\n    print('go')\n    while True: pass\nexcept KeyboardInterrupt: print('caught')"
    handler = "import os, signal\nsignal.signal(signal.SIGINT, lambda *_: os.write(1, b'own\\n'))"
    async with client(host, "python") as one:
        session, seen = await one.begin(caught)
        await seen.until_output(b"go")
        await session.signal("INT")
        last = await seen.until(Ended)
        assert (last.outcome, last.code, seen.stdout) == (Outcome.EXITED, 0, b"go\ncaught\n")
        await one.out(handler)
        session, seen = await one.begin("import time\nprint('go')\nfor _ in range(3): time.sleep(0.1)\nprint('end')")
        await seen.until_output(b"go")
        await session.signal("INT")
        await seen.until(Ended)
        assert seen.stdout == b"go\nown\nend\n"


async def test_many_interrupts_at_any_moment_never_end_the_kernel(host: Host) -> None:
    async with client(host, "python") as one:
        await one.out("x = 1")
        for _ in range(30):
            session, seen = await one.begin("pass")
            await session.signal("INT")
            await session.signal("INT")
            last = await seen.until(Ended)
            assert last.outcome in (Outcome.EXITED, Outcome.SIGNAL), last
        assert await one.out("print(x)") == "1\n"


@pytest.mark.parametrize(
    ("argument", "code", "text"), [("", 0, b""), ("None", 0, b""), ("'why'", 1, b"why\n"), ("-1", 255, b"")]
)
async def test_exits(host: Host, argument: str, code: int, text: bytes) -> None:
    async with client(host, "python") as one:
        seen, last = await one.run(f"import sys; sys.exit({argument})")
        assert (last.outcome, last.code, seen.stderr) == (Outcome.EXITED, code, text)


async def test_the_last_expression_is_not_printed_and_main_is_the_codes(host: Host) -> None:
    async with client(host, "python") as one:
        assert await one.out("1 + 1") == ""
        assert (
            await one.out("import sys\nprint(__name__, sys.modules['__main__'].__dict__ is globals())")
            == "__main__ True\n"
        )
        out = await one.out("print(sorted(name for name in globals() if not name.startswith('__')), sys.path[0])")
        assert out == "['sys'] /work\n"
        pickled = "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A)"
        assert await one.out(pickled) == "True\n"


async def test_streams_that_code_replaces_or_closes_are_back_in_the_next_run(host: Host) -> None:
    async with client(host, "python") as one:
        await one.out("import io, sys\nsys.stdout = sys.stderr = io.StringIO()\nprint('lost')")
        assert await one.out("print('back')") == "back\n"
        await one.out("sys.stdout.close()\nsys.stdin.close()\nsys.stderr.close()")
        assert await one.out("print('again', sys.stdin.readline())", stdin=b"in\n") == "again in\n\n"
        seen, _ = await one.run("1 / 0")
        assert b"ZeroDivisionError" in seen.stderr
        assert await one.out("print('no end of line', end='')") == "no end of line"


async def test_threads_go_on_between_runs(host: Host) -> None:
    begin = (
        "import threading, time\nstop = threading.Event()\ncount = 0\n"
        "def work():\n    global count\n    while not stop.wait(0.01): count += 1\n    print('stopped')\n"
        "thread = threading.Thread(target=work)\nthread.start()"
    )
    async with client(host, "python") as one:
        await one.out(begin)
        first = int(await one.out("print(count)"))
        assert int(await one.out("time.sleep(0.2); print(count)")) > first
        assert await one.out("stop.set(); thread.join()") == "stopped\n"


async def test_what_a_thread_writes_between_runs_comes_with_the_next(host: Host) -> None:
    begin = "import threading, time\nthreading.Timer(0.05, lambda: print('x' * 200_000)).start()"
    async with client(host, "python") as one:
        await one.out(begin)
        out = await one.out("for thread in threading.enumerate()[1:]: thread.join()\nprint('mine')")
        assert sorted(out.split()) == ["mine", "x" * 200_000]


async def test_forked_children_that_come_to_the_end_of_the_code_end_there(host: Host) -> None:
    code = (
        "import os\npid = os.fork()\nprint('child' if pid == 0 else os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    async with client(host, "python") as one:
        assert await one.out(code) == "child\n0\n"
        assert await one.out(code + "\nif pid == 0: raise SystemExit(4)") == "child\n4\n"
        assert await one.out("print('still', end=' ')\nprint(pid > 0)") == "still True\n"
        pool = (
            "import multiprocessing\ndef f(x): return x * x\n"
            "with multiprocessing.get_context('fork').Pool(2) as p: print(p.map(f, [1, 2]))"
        )
        assert await one.out(pool) == "[1, 4]\n"


async def test_a_child_that_outlives_its_run_does_not_hold_the_kernel(host: Host) -> None:
    code = "import os, time\nif os.fork() == 0:\n    time.sleep(60)\nprint('parent')"
    async with client(host, "python") as one:
        assert await one.out(code) == "parent\n"
        _, last = await one.run("import os; os._exit(5)")
        assert (last.outcome, last.code) == (Outcome.EXITED, 5)
