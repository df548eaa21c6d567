"""A box from outside: programs, files, ports, its end."""

import errno
import os
import re
import signal
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from runnerd.errors import BoxError, BrokenBox, InitRefused
from runnerd.sandbox.box import open_box
from runnerd.sandbox.host import Host
from runnerd.sandbox.keeper import End
from runnerd.sandbox.recipe import TERMINALS
from runnerd.sandbox.spec import Exit, Launch, Limits, Outcome, Window

from .running import ENV, finish, read_all, run


async def test_program_and_its_streams(host: Host) -> None:
    ran = await run(host, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (ran.stdout, ran.stderr) == ("out\n", "err\n")
    assert ran.exit is not None
    assert (ran.exit.code, ran.exit.signal) == (7, None)
    assert ran.exit.cpu > 0
    assert ran.exit.memory > 100_000


async def test_signal_is_told(host: Host) -> None:
    ran = await run(host, "sh", "-c", "kill -TERM $$")
    assert ran.exit is not None
    assert (ran.exit.code, ran.exit.signal) == (None, signal.SIGTERM)


async def test_terminal_is_native(host: Host) -> None:
    ran = await run(host, "sh", "-c", "tty; stty size; test -t 2 && echo stderr too", mode="terminal")
    assert ran.stdout == "/dev/pts/0\r\n24 80\r\nstderr too\r\n"


async def test_split_keeps_streams_apart(host: Host) -> None:
    ran = await run(host, "sh", "-c", "test -t 1 && test -t 2 && echo out; echo err >&2", mode="split")
    assert (ran.stdout, ran.stderr) == ("out\n", "err\n")


async def test_python_prompts_on_stdout_in_split_mode(host: Host) -> None:
    """And without the support module it does not: that is why there is one."""
    code = "import gc, sys; gc.collect(); name = input('Name: '); print('Hello', name, sys.path[0] == '')"
    support = {"PYTHONPATH": "/opt/runnerd/support/python"}
    for env, stdout in ((support, "Name: Hello Ada True\n"), ({}, "Hello Ada True\n")):
        async with open_box(host, host.spec(Limits())) as box:
            process = await box.start(Launch(("python3", "-c", code), {**ENV, **env}, "split"))
            os.write(process.stdin, b"Ada\n")
            assert (await finish(process))[0] == stdout


async def test_only_three_descriptors(host: Host) -> None:
    ran = await run(host, "python3", "-c", "import os; print(sorted(os.listdir('/proc/self/fd')))")
    assert ran.stdout == "['0', '1', '2', '3']\n"  # 3 is the folder that is being listed


@pytest.mark.parametrize("process", ["self", "1"])
async def test_layers_are_on(host: Host, process: str) -> None:
    ran = await run(host, "cat", f"/proc/{process}/status")
    lines = dict(line.split(":\t") for line in ran.stdout.splitlines() if ":\t" in line)
    assert (lines["Seccomp"], lines["Seccomp_filters"], lines["NoNewPrivs"]) == ("2", "2", "1")
    assert {lines[f"Cap{name}"] for name in ("Bnd", "Eff", "Prm", "Inh", "Amb")} == {"0" * 16}
    assert lines["Uid"].split() == lines["Gid"].split() == ["1000"] * 4


async def test_nobody_is_root(host: Host) -> None:
    """Not even by name: the user namespace of programs has one user."""
    maps = (await run(host, "cat", "/proc/self/uid_map", "/proc/self/gid_map")).stdout.splitlines()
    assert [line.split()[::2] for line in maps] == [["1000", "1"]] * 2
    ran = await run(host, "stat", "-c", "%u %a", "/proc/1/oom_score_adj")
    assert ran.stdout == "65534 644\n"  # init is not dumpable, so its files are a root's that this namespace has not


async def test_terminals_have_their_options(host: Host) -> None:
    ran = await run(host, "grep", " /dev/pts ", "/proc/self/mountinfo")
    before, _, after = ran.stdout.partition(" - ")
    assert {"rw", "nosuid", "noexec"} <= set(before.split()[5].split(","))
    assert {"mode=620", "ptmxmode=666", f"max={TERMINALS}"} <= set(after.split()[2].split(","))


async def test_python_compiles_nothing_of_its_own_at_its_start(host: Host) -> None:
    """What the host has compiled is good in a box, too: files keep the times that Python goes by."""
    ran = await run(host, "python3", "-v", "-c", "pass")
    assert "matches /usr/lib/" in ran.stderr
    assert not re.findall(r"^# code object from .*\.py'?$", ran.stderr, re.MULTILINE)


async def test_alternatives_lead_to_programs_and_not_to_manuals(host: Host) -> None:
    links = {path.name for path in Path("/etc/alternatives").iterdir()}
    ran = await run(host, "ls", "-A", "/etc/alternatives")
    assert set(ran.stdout.split()) == {name for name in links if not name.endswith(".gz")}
    assert (await run(host, "awk", "BEGIN { print 6 * 7 }")).stdout == "42\n"


async def test_environment_is_what_was_given(host: Host) -> None:
    ran = await run(host, "env")
    assert sorted(ran.stdout.splitlines()) == sorted(f"{name}={value}" for name, value in ENV.items())


async def test_resize(host: Host) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        process = await box.start(Launch(("sh", "-c", "read x; stty size"), ENV, window=Window(10, 20)))
        process.resize(Window(30, 100))
        os.write(process.stdin, b"\n")
        assert (await finish(process))[0].endswith("30 100\r\n")


async def test_interrupt_reaches_the_foreground(host: Host) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        process = await box.start(Launch(("sh", "-c", "echo ready; exec sleep 100"), ENV))
        await trio.lowlevel.wait_readable(process.outputs[0][1])
        await box.signal(process, signal.SIGINT)
        await process.exited.wait()
        assert process.exit is not None
        assert process.exit.signal == signal.SIGINT
        await box.signal(process, signal.SIGINT)  # gone already is no error
        process.close()


async def test_tree_is_signalled_whole(host: Host) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        script = "setsid sh -c 'echo $$; exec sleep 100' & exec sleep 100"
        process = await box.start(Launch(("sh", "-c", script), ENV, "pipes"))
        await trio.lowlevel.wait_readable(process.outputs[0][1])
        await box.signal(process, signal.SIGKILL, "tree")
        assert (await finish(process))[0].strip().isdecimal()  # the pipe ended: nobody holds it any more


async def test_files(host: Host) -> None:
    big = os.urandom(3_000_000)
    async with open_box(host, host.spec(Limits())) as box:
        await box.write("a/b/small.txt", b"small")
        await box.write("big", big, 0o600)
        await box.mkdir("empty")
        await box.rename("a/b/small.txt", "moved.txt")
        assert {(entry.name, entry.size) for entry in await box.list() if entry.name != "empty"} >= {
            ("big", len(big)),
            ("moved.txt", 5),
        }
        fd = await box.open("big")
        with open(fd, "rb") as file:
            assert file.read() == big
        await box.delete("a")
        assert "a" not in {entry.name for entry in await box.list()}


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x"])
async def test_files_stay_in_the_work_tree(host: Host, path: str) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        with pytest.raises(InitRefused) as refused:
            await box.write(path, b"x")
        assert refused.value.errno in (errno.EXDEV, errno.EINVAL)


async def test_full_work_tree_says_so(host: Host) -> None:
    async with open_box(host, host.spec(Limits(work=1 << 20))) as box:
        with pytest.raises(InitRefused, match="No space left"):
            await box.write("big", b"x" * (2 << 20))


async def test_unknown_program_is_told_with_its_errno(host: Host) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        with pytest.raises(InitRefused, match=r"start nosuch: No such file") as refused:
            await box.start(Launch(("nosuch",), ENV))
        assert refused.value.errno == errno.ENOENT
        assert (await finish(await box.start(Launch(("true",), ENV, "pipes")))) == ("", "")


async def test_refused_file_starts_nothing_that_is_kept(host: Host) -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with open_box(host, host.spec(Limits())) as box:
        with pytest.raises(InitRefused):
            await box.start(Launch(("cat",), ENV, "pipes"), {"../x": b""})
        await box.list()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_dial(host: Host) -> None:
    server = (
        "import socket; server = socket.create_server(('127.0.0.1', 3000)); print('up', flush=True)\n"
        "server.accept()[0].send(b'hello')"
    )
    async with open_box(host, host.spec(Limits())) as box:
        process = await box.start(Launch(("python3", "-c", server), ENV, "pipes"))
        await trio.lowlevel.wait_readable(process.outputs[0][1])
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(await box.dial(3000)))
        assert await stream.receive_some() == b"hello"
        await stream.aclose()
        with pytest.raises(InitRefused) as refused:
            await box.dial(3001)
        assert refused.value.errno == errno.ECONNREFUSED
        process.close()


async def test_everything_is_gone_afterwards(host: Host, tmp_path: Path) -> None:
    """Double forks, new sessions and ignored signals do not help; and we are left with what we had."""
    marker = f"runnerd-test-{os.getpid()}"
    script = f"trap '' TERM HUP INT; (setsid bash -c 'exec -a {marker} sleep 1000' &) ; kill -STOP $$"
    before = len(os.listdir("/proc/self/fd"))

    def alive() -> list[str]:
        found: list[str] = []
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            try:
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(marker.encode()):
                    found.append(pid)
            except OSError:
                continue
        return found

    async with open_box(host, host.spec(Limits())) as box:
        process = await box.start(Launch(("bash", "-c", script), ENV, "pipes"))
        with trio.fail_after(10):
            while not alive():
                await trio.lowlevel.checkpoint()
        process.close()
    assert alive() == []
    assert len(os.listdir("/proc/self/fd")) == before


async def test_kill_ends_what_waits(host: Host) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        process = await box.start(Launch(("sleep", "100"), ENV))
        box.kill(Outcome.KILLED)
        await process.exited.wait()
        assert process.exit is None
        assert box.exceeded is Outcome.KILLED
        with pytest.raises(BrokenBox):
            await box.write("x", b"")
        process.close()


async def test_box_that_cannot_be_made_says_why(host: Host) -> None:
    recipe = replace(host, etc="/nonexistent").recipe(host.spec(Limits()))
    async with open_box(host, host.spec(Limits()), recipe) as box:
        with pytest.raises(BoxError):
            await box.start(Launch(("true",), ENV))
        await box.ended.wait()
        assert "nonexistent" in str(box.failure)


@pytest.mark.parametrize("number", [errno.ESRCH, errno.EMFILE])
async def test_an_init_that_cannot_be_held_is_a_broken_box(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def refuse(pid: int) -> int:
        raise OSError(number, os.strerror(number))

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr("runnerd.sandbox.box.os.pidfd_open", refuse)
    async with open_box(host, host.spec(Limits())) as box:
        with pytest.raises(BrokenBox, match=rf"pidfd: .*[(]errno {number}[)]"):
            await box.alive()
        await box.ended.wait()
    assert len(os.listdir("/proc/self/fd")) == before
    assert f"errno {number}" in str(caplog.records[-1].__dict__["reason"])


async def test_an_init_that_a_limit_ended_at_its_hello_tells_which(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise ProcessLookupError(errno.ESRCH, "No such process")

    monkeypatch.setattr("runnerd.sandbox.box.os.pidfd_open", refuse)
    async with open_box(host, host.spec(Limits())) as box:
        monkeypatch.setattr(box._keeper, "end", lambda: End(Outcome.MEMORY))
        await box.ended.wait()
        assert box.exceeded is Outcome.MEMORY


@pytest.mark.parametrize("grouped", [False, True])
async def test_a_box_that_cannot_be_watched_ends_and_nothing_else_does(
    host: Host, monkeypatch: pytest.MonkeyPatch, grouped: bool
) -> None:
    async def fail(up: object) -> Outcome:
        problem = OSError(errno.EMFILE, "Too many open files")
        raise ExceptionGroup("", [problem]) if grouped else problem

    async with open_box(host, host.spec(Limits())) as box:
        monkeypatch.setattr(box._keeper, "watch", fail)
        await box.ended.wait()
        assert box.failure is not None
        assert box.failure.message == "the box broke, watching its limits: Too many open files (errno 24)"


async def test_callers_errors_pass_through(host: Host) -> None:
    with pytest.raises(KeyError):
        async with open_box(host, host.spec(Limits())):
            raise KeyError("mine")


async def test_widget_writes_only_in_tmp(host: Host) -> None:
    script = "pwd; for d in /work /dev/shm /var /run /tmp /tmp/work; do echo x > $d/f 2>/dev/null && echo $d; done"
    spec = host.spec(Limits(tmp=10 << 20), widget=True)
    async with open_box(host, spec) as box:
        process = await box.start(Launch(("sh", "-c", script), ENV, "pipes", cwd=spec.work))
        assert (await finish(process))[0] == "/tmp/work\n/tmp\n/tmp/work\n"


async def test_memory_over_the_limit_ends_the_box(host: Host) -> None:
    code = "data = []\nwhile True: data.append(bytearray(1 << 20))"
    ran = await run(host, "python3", "-c", code, spec=host.spec(Limits(memory=64 << 20)))
    assert ran.exit is None
    assert ran.box.exceeded is Outcome.MEMORY
    assert ran.box.used().peak >= 64 << 20


async def test_cpu_over_the_limit_ends_the_box(host: Host) -> None:
    ran = await run(host, "sh", "-c", "while :; do :; done", spec=host.spec(Limits(cpu=0.3)))
    assert ran.box.exceeded is Outcome.CPU


async def test_fork_meets_its_limit(host: Host) -> None:
    """RLIMIT_NPROC answers EAGAIN and the program goes on."""
    code = (
        "import os, time\nn = 0\n"
        "try:\n  while True:\n    if os.fork() == 0: time.sleep(100)\n    n += 1\n"
        "except OSError as e: print(e.errno, n)"
    )
    async with open_box(host, host.spec(Limits(processes=20))) as box:
        process = await box.start(Launch(("python3", "-c", code), ENV, "pipes"))
        await trio.lowlevel.wait_readable(process.outputs[0][1])
        number, forks = os.read(process.outputs[0][1], 100).split()
        assert int(number) == errno.EAGAIN
        assert 10 <= int(forks) <= 20
        process.close()


async def test_specs_differ_by_uid_only_when_root(host: Host) -> None:
    if host.uids is None:
        pytest.skip("boxes share our uid when we are not root")
    async with open_box(host, host.spec(Limits())) as one, open_box(host, host.spec(Limits())) as two:
        await one.alive()
        await two.alive()
        assert one.handles is not None
        assert two.handles is not None
        owners = {os.stat(f"/proc/{box.handles.init}/cgroup").st_uid for box in (one, two) if box.handles}
        status = [Path(f"/proc/{box.handles.init}/status").read_text() for box in (one, two) if box.handles]
        uids = {next(line for line in text.splitlines() if line.startswith("Uid:")) for text in status}
        assert len(uids) == 2
        assert owners == {0}  # not dumpable: its /proc belongs to root


def test_exit_values_are_plain() -> None:
    assert replace(Exit(0, None, 0.1, 1), code=1) == Exit(1, None, 0.1, 1)


async def test_output_is_read_to_its_end(host: Host) -> None:
    async with open_box(host, host.spec(Limits())) as box:
        process = await box.start(Launch(("sh", "-c", "head -c 300000 /dev/zero"), ENV, "pipes"))
        assert len(await read_all(process.outputs[0][1])) == 300_000
        process.close()
