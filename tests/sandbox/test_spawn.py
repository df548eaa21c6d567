import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trio

from runnerd.sandbox.spawn import Child, spawn

root_only = pytest.mark.skipif(os.getuid() != 0, reason="takes another uid, which root may do")
NULL = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


async def told(argv: Sequence[str], fds: Callable[[int], Sequence[int]], **options: int) -> str:
    """What a program writes to the pipe that `fds` placed for it, given the pipe's writing end."""
    reader, writer = os.pipe()
    try:
        child = spawn(argv, {"PATH": "/usr/bin:/bin"}, fds(writer), **options)
    finally:
        os.close(writer)
    with open(reader, "rb") as pipe:
        text = await trio.to_thread.run_sync(pipe.read)
    assert await child.wait() == 0
    return text.decode()


def plain(writer: int) -> Sequence[int]:
    return [NULL, writer, writer]


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def field(status: str, name: str) -> str:
    (line,) = [line for line in status.splitlines() if line.startswith(name + ":")]
    return line.partition(":")[2].strip()


async def test_only_the_named_descriptors_are_inherited() -> None:
    inheritable = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(inheritable, True)
    try:
        listing = await told(["/bin/ls", "/proc/self/fd"], lambda writer: [NULL, writer, writer, NULL])
    finally:
        os.close(inheritable)
    assert listing.split() == ["0", "1", "2", "3", "4"]  # 4 is ls's own, of the folder


async def test_no_descriptors_at_all() -> None:
    assert await spawn(["/bin/sh", "-c", "! [ -e /proc/self/fd/0 ] && ! [ -e /proc/self/fd/1 ]"], {}, []).wait() == 0


def alone(script: str, *, stdin: int | None = None) -> str:
    """What a process of its own prints, whose descriptors and uid a test may change."""
    head = "import os, sys\nfrom runnerd.sandbox.spawn import spawn\n"
    done = subprocess.run(
        [sys.executable, "-c", head + script], stdin=stdin, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def test_a_target_may_be_the_source_of_another() -> None:
    """/dev/null at 0 and a pipe at 1 change places: whichever is placed first would overwrite the other's source."""
    script = (
        "child = spawn(['/bin/sh', '-c', 'echo to 1; echo to 0 >&0'], {}, [1, 0, 2])\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]))"
    )
    assert alone(script, stdin=NULL) == "to 0\n"


async def test_one_descriptor_may_go_to_several_numbers_and_keeps_close_on_exec_here() -> None:
    text = await told(["/bin/sh", "-c", "echo out; echo err >&2; echo five >&5"], lambda w: [NULL, w, w, w, w, w])
    assert text == "out\nerr\nfive\n"
    assert not os.get_inheritable(NULL)


async def test_the_environment_is_what_was_given_and_nothing_else() -> None:
    reader, writer = os.pipe()
    child = spawn(["/usr/bin/env"], {"NAME": "value", "EMPTY": "", "ODD": "a=b ü\n"}, [NULL, writer, writer])
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:
        assert await trio.to_thread.run_sync(pipe.read) == "NAME=value\nEMPTY=\nODD=a=b ü\n\n"
    assert await child.wait() == 0


@root_only
async def test_uid_takes_the_gid_too_and_no_other_groups() -> None:
    status = await told(["/bin/cat", "/proc/self/status"], plain, uid=64321)
    assert field(status, "Uid").split() == ["64321"] * 4
    assert field(status, "Gid").split() == ["64321"] * 4
    assert field(status, "Groups") == ""
    assert int(field(status, "CapEff"), 16) == 0


@root_only
async def test_the_callers_other_threads_keep_their_uid() -> None:
    """glibc's setresuid would have told them; they share memory with the child while it starts."""
    uids: list[str] = []
    go, done = threading.Event(), threading.Event()

    def other() -> None:
        go.wait()
        uids.append(Path("/proc/thread-self/status").read_text())
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    child = spawn(["/bin/true"], {}, [NULL, NULL, NULL], uid=64321)
    go.set()
    done.wait()
    thread.join()
    assert await child.wait() == 0
    assert field(uids[0], "Uid").split() == ["0"] * 4


async def test_signals_start_at_their_defaults() -> None:
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    try:
        assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN  # Python's habit, which execve would hand on
        status = await told(["/bin/cat", "/proc/self/status"], plain)
        ours = Path("/proc/thread-self/status").read_text()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGUSR2, before)
    assert int(field(status, "SigBlk"), 16) == 0
    assert int(field(status, "SigIgn"), 16) == 0
    assert int(field(status, "SigCgt"), 16) == 0
    blocked = int(field(ours, "SigBlk"), 16)
    assert blocked & 1 << signal.SIGTERM - 1
    assert blocked & 1 << signal.SIGUSR1 - 1
    assert not blocked & 1 << signal.SIGINT - 1
    assert int(field(ours, "SigIgn"), 16) & 1 << signal.SIGPIPE - 1


async def test_boxes_go_first_when_memory_runs_out() -> None:
    """However well a manager protects the daemon, whose score they would inherit."""
    assert await told(["/bin/cat", "/proc/self/oom_score_adj"], plain) == "500\n"
    assert int(Path("/proc/self/oom_score_adj").read_text()) != 500


@root_only
async def test_boxes_of_other_uids_go_first_too() -> None:
    assert await told(["/bin/cat", "/proc/self/oom_score_adj"], plain, uid=12345) == "500\n"


async def test_core_files_are_off() -> None:
    limits = await told(["/bin/cat", "/proc/self/limits"], plain)
    (line,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert line.split()[4:6] == ["0", "0"]


@pytest.mark.parametrize(
    ("program", "status"),
    [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", -signal.SIGKILL), ("kill -TERM $$", -signal.SIGTERM)],
)
async def test_wait_tells_the_code_or_the_signal(program: str, status: int) -> None:
    child = spawn(["/bin/sh", "-c", program], {}, [NULL, NULL, NULL])
    pidfd = child.pidfd
    assert not os.get_inheritable(pidfd)
    assert await child.wait() == status
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)
    assert child.pidfd == -1


async def test_wait_may_be_cancelled_and_called_again() -> None:
    child = spawn(["/bin/sleep", "1000"], {}, [NULL, NULL, NULL])
    with trio.move_on_after(0):
        await child.wait()
    child.kill(signal.SIGTERM)
    assert await child.wait() == -signal.SIGTERM


async def test_kill_of_one_that_is_gone_is_no_error() -> None:
    child = spawn(["/bin/true"], {}, [NULL, NULL, NULL])
    await trio.lowlevel.wait_readable(child.pidfd)
    child.kill()  # a zombie
    assert await child.wait() == 0
    child.kill()  # reaped


@pytest.mark.parametrize(
    ("path", "number", "text"),
    [
        ("/nowhere/program", errno.ENOENT, "starting /nowhere/program: execve: No such file"),
        ("/etc/passwd", errno.EACCES, "execve: Permission denied"),
    ],
)
async def test_an_error_names_the_step(path: str, number: int, text: str) -> None:
    before = children()
    with pytest.raises(OSError, match=text) as caught:
        spawn([path], {}, [NULL, NULL, NULL])
    assert caught.value.errno == number
    assert children() == before


@root_only
def test_a_refused_uid_names_its_step() -> None:
    script = (
        "os.setgroups([]); os.setresgid(64321, 64321, 64321); os.setresuid(64321, 64321, 64321)\n"
        "try: spawn(['/bin/true'], {}, [2, 2, 2], uid=64322)\n"
        "except OSError as error: print(error.errno, error)"
    )
    assert f"{errno.EPERM} [Errno {errno.EPERM}] starting /bin/true: setgroups:" in alone(script)


@pytest.mark.parametrize("uid", [-1, 2**32 - 1, 2**32])
async def test_a_uid_that_means_keep_mine_is_refused(uid: int) -> None:
    """setresuid takes -1 for "leave it", and a daemon's own uid may be root's."""
    with pytest.raises(ValueError, match="no uid"):
        spawn(["/bin/true"], {}, [NULL, NULL, NULL], uid=uid)


@pytest.mark.parametrize(
    ("fds", "number", "text"),
    [([NULL, 987654], errno.EBADF, r"fcntl\(F_DUPFD\)"), ([NULL] * 17, errno.EINVAL, "descriptors")],
)
async def test_wrong_descriptors_are_refused(fds: list[int], number: int, text: str) -> None:
    with pytest.raises(OSError, match=text) as caught:
        spawn(["/bin/true"], {}, fds)
    assert caught.value.errno == number


async def test_a_cgroup_that_is_none_is_refused_by_clone3() -> None:
    with pytest.raises(OSError, match="clone3"):
        spawn(["/bin/true"], {}, [NULL, NULL, NULL], cgroup=NULL)


@pytest.mark.parametrize(("argv", "env"), [(["/bin/true", "a\0b"], {}), (["/bin/true"], {"NAME": "a\0b"})])
async def test_a_nul_is_not_cut_off_silently(argv: list[str], env: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="NUL"):
        spawn(argv, env, [NULL, NULL, NULL])


async def test_only_from_the_main_thread() -> None:
    def elsewhere() -> Child:
        return spawn(["/bin/true"], {}, [NULL, NULL, NULL])

    with pytest.raises(RuntimeError, match="main thread"):
        await trio.to_thread.run_sync(elsewhere)


async def test_five_hundred_leave_nothing_behind() -> None:
    def held() -> tuple[int, set[str]]:
        return len(os.listdir("/proc/self/fd")), children()

    def mappings() -> int:
        return Path("/proc/self/maps").read_text().count("\n")

    async def rounds(number: int) -> None:
        for _ in range(number):
            assert await spawn(["/bin/true"], {}, [NULL, NULL, NULL]).wait() == 0
            with pytest.raises(FileNotFoundError):
                spawn(["/nowhere"], {}, [NULL, NULL, NULL])

    await rounds(5)
    before, mapped = held(), mappings()
    await rounds(250)
    assert held() == before
    assert mappings() < mapped + 100  # a stack that stays would be one more for each


async def test_the_interpreter_itself_starts() -> None:
    """A program larger than a shell, with the daemon's own descriptors closed under it."""
    assert await told([sys.executable, "-I", "-c", "print(6 * 7)"], plain) == "42\n"


@pytest.mark.parametrize("uid", ["None", pytest.param("65534", marks=root_only)])
def test_it_dies_with_us(uid: str) -> None:
    """The control: what a process starts otherwise outlives it."""
    script = (
        f"child = spawn(['/bin/sleep', '1000'], {{}}, [0, 2, 2], uid={uid})\n"
        "import subprocess\n"
        "other = subprocess.Popen(['/bin/sleep', '1000'], stdout=2)\n"
        "print(child.pid, other.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    with pytest.raises(subprocess.CalledProcessError) as ended:
        alone(script, stdin=NULL)
    child, other = map(int, ended.value.stdout.split())
    try:
        while state(child) not in ("Z", ""):
            time.sleep(0.01)
        assert state(other) not in ("Z", "")
    finally:
        os.kill(other, signal.SIGKILL)


def state(pid: int) -> str:
    """A process's state: "Z" when it has ended and nobody has reaped it yet, "" when it is gone."""
    try:
        return field(Path(f"/proc/{pid}/status").read_text(), "State")[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
