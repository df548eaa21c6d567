"""Programs in all three modes: what they are given, how they are signalled, and how their end is told."""

import errno
import fcntl
import os
import re
import resource
import signal
import socket
import struct
import termios

import pytest
from driver import (
    ENV,
    PIPES,
    PROGRAMS_MAX,
    RELEASE,
    SPLIT,
    TERMINAL,
    TREE,
    Init,
    alive,
    collect,
    wait_until,
)

MODES = pytest.mark.parametrize("mode", [TERMINAL, SPLIT, PIPES])


def finish(init: Init, *argv: str, mode: int, **settings) -> tuple[int, bytes, bytes]:
    """Run a program that reads nothing: exit code, stdout, stderr (in terminal mode within stdout)."""
    program = init.start(*argv, mode=mode, **settings)
    outputs = program.fds[1:] if mode == PIPES else program.fds
    texts = (*collect(outputs), b"")
    code, _, _ = init.ended(program)
    program.close()
    return code, texts[0], texts[1]


# --- what a program is given -------------------------------------------------------------------------------------


@MODES
def test_only_the_named_descriptors_and_a_clean_state(init: Init, mode: int) -> None:
    code, out, _ = finish(init, "ls", "/proc/self/fd", mode=mode)
    assert (code, out.split()) == (0, [b"0", b"1", b"2", b"3"])  # 3 is the folder that ls reads
    code, out, _ = finish(
        init, "grep", "-E", "^(Sig(Blk|Ign|Pnd)|ShdPnd|Umask|CapEff):", "/proc/self/status", mode=mode
    )
    values = dict(line.split() for line in out.decode().splitlines())
    assert values.pop("Umask:") == "0022"
    assert {int(value, 16) for value in values.values()} == {0}


@MODES
def test_what_comes_along_is_descriptor_60_and_ends_with_the_program(init: Init, mode: int) -> None:
    ours, theirs = socket.socketpair()
    code = "import os; os.write(60, str(sorted(map(int, os.listdir('/proc/self/fd')))).encode()); print(os.read(60, 9))"
    with ours:
        with theirs:
            program = init.start("/usr/bin/python3", "-c", code, mode=mode, fds=[theirs.fileno()])
        assert ours.recv(100) == b"[0, 1, 2, 3, 60]"  # 3 is the folder
        ours.send(b"told")
        outputs = program.fds[1:] if mode == PIPES else program.fds
        assert collect(outputs)[0].strip() == b"b'told'"
        assert init.ended(program)[0] == 0
        assert ours.recv(1) == b""  # neither init nor the leader holds it
    program.close()


@pytest.mark.parametrize("argv", ["/bin/absent", "cat"])
def test_what_comes_along_is_closed_when_nothing_starts_and_when_it_is_not_alone(init: Init, argv: str) -> None:
    read, write = os.pipe()
    with pytest.raises(OSError, match=r"No such file|Invalid argument"):
        init.start(argv, fds=[write] if argv != "cat" else [write, write])
    os.close(write)
    assert os.read(read, 1) == b""
    os.close(read)


@MODES
def test_arguments_environment_and_folder(init: Init, mode: int) -> None:
    init.write("folder/x", "")
    env = {"PATH": "/usr/bin", "EMPTY": "", "BYTES": "\udcff é"}
    argv = ["", "two words", "\udcff", "-x", "$HOME"]
    code = (
        "import os, sys\n"
        "out = os.fsencode(repr((sys.argv[1:], dict(os.environ), os.getcwd())))\n"
        "open('/work/seen', 'wb').write(out)"
    )
    assert finish(init, "python3", "-c", code, *argv, mode=mode, env=env, cwd="/work/folder")[0] == 0
    seen_argv, seen_env, cwd = eval(init.read("seen"))
    seen_env.pop("LC_CTYPE", None)  # python sets it for itself
    assert (seen_argv, seen_env, cwd) == (argv, env, "/work/folder")


def test_a_terminal_is_one(init: Init) -> None:
    code = (
        "import os; assert all(map(os.isatty, range(3)))\n"
        "tty = os.open('/dev/tty', os.O_RDWR)\n"
        "assert os.tcgetpgrp(tty) == os.getpgrp() == os.getpid()\n"
        "assert os.getsid(0) == os.getppid() != os.getpid()\n"
        "print(os.ttyname(0), os.get_terminal_size())"
    )
    program = init.python(code, mode=TERMINAL, window=(43, 132))
    assert len(program.fds) == 1
    assert collect(program.fds)[0] == b"/dev/pts/0 os.terminal_size(columns=132, lines=43)\r\n"
    assert init.ended(program)[0] == 0
    program.close()

    _, out, _ = finish(init, "stty", "-a", mode=TERMINAL)
    words = out.replace(b";", b"").split()
    for word in (
        b"icanon",
        b"isig",
        b"iexten",
        b"echo",
        b"echoe",
        b"echoctl",
        b"icrnl",
        b"ixon",
        b"iutf8",
        b"opost",
        b"onlcr",
        b"cread",
    ):
        assert word in words


def test_a_terminal_echoes_and_turns_control_characters_into_signals(init: Init) -> None:
    program = init.start("cat", mode=TERMINAL)
    program.send("é\x7fb\n".encode())
    (out,) = collect(program.fds, b"\r\nb\r\n")
    assert out == b"\xc3\xa9\b \bb\r\nb\r\n"  # one erase for a character of two bytes
    program.send(b"\x03")
    assert init.ended(program)[0] == -signal.SIGINT
    assert collect(program.fds)[0] == b"^C"
    program.close()


def test_split_keeps_the_streams_apart_and_unchanged(init: Init) -> None:
    code = (
        "import os, sys; assert all(map(os.isatty, range(3))); assert os.ttyname(0) == os.ttyname(1) != os.ttyname(2)\n"
        "assert os.get_terminal_size(2) == os.get_terminal_size(1) == (70, 30)\n"
        "os.close(os.open('/dev/tty', os.O_RDWR)); line = sys.stdin.readline()\n"
        "sys.stdout.write('out\\n\\tline ' + line); sys.stderr.write('err\\n')"
    )
    program = init.python(code, mode=SPLIT, window=(30, 70))
    assert len(program.fds) == 2
    program.send(b"typed\n")
    assert collect(program.fds) == (b"out\n\tline typed\n", b"err\n")
    assert init.ended(program)[0] == 0
    program.close()


def test_pipes_are_exact_and_without_a_terminal(init: Init) -> None:
    code = (
        "import errno, os, sys; assert not any(map(os.isatty, range(3)))\n"
        "try: os.open('/dev/tty', os.O_RDWR)\n"
        "except OSError as error: assert error.errno == errno.ENXIO\n"
        "data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data); sys.stderr.write(str(len(data)))"
    )
    program = init.python(code)
    data = bytes(range(256)) * 200
    assert not any(map(os.get_blocking, program.fds))
    os.set_blocking(program.fds[0], True)
    program.send(data)
    os.close(program.fds.pop(0))
    assert collect(program.fds) == (data, b"51200")
    assert init.ended(program)[0] == 0
    program.close()


@pytest.mark.parametrize("mode", [TERMINAL, SPLIT])
def test_a_resize_reaches_the_foreground(init: Init, mode: int) -> None:
    code = (
        "import os, signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH]); print('up', flush=True)\n"
        "signal.sigwait([signal.SIGWINCH]); print(os.get_terminal_size())"
    )
    program = init.python(code, mode=mode)
    collect(program.fds, b"up")
    fcntl.ioctl(program.fds[0], termios.TIOCSWINSZ, struct.pack("4H", 50, 100, 0, 0))
    assert b"columns=100, lines=50" in collect(program.fds)[0]
    program.close()


def test_job_control(init: Init) -> None:
    program = init.start("bash", "--norc", "-i", mode=TERMINAL, env={**ENV, "PS1": "ready> "})
    (master,) = program.fds
    collect(program.fds, b"ready> ")
    shell = os.tcgetpgrp(master)
    program.send(b"sh -c 'echo up$((1+1)); exec sleep 1000'\n")
    collect(program.fds, b"up2\r\n")  # it has its own handling of ^Z by now, where bash's is to ignore it
    assert os.tcgetpgrp(master) != shell
    program.send(b"\x1a")
    wait_until(lambda: os.tcgetpgrp(master) == shell)
    program.send(b"jobs; echo e$((1+1))nd\n")
    assert b"Stopped" in collect(program.fds, b"e2nd\r\n")[0]
    program.send(b"fg\n")
    wait_until(lambda: os.tcgetpgrp(master) != shell)
    program.send(b"\x03")
    wait_until(lambda: os.tcgetpgrp(master) == shell)
    program.send(b"exit 7\n")
    assert init.ended(program)[0] == 7
    program.close()


def test_ctrl_z_without_a_shell_is_continued(init: Init) -> None:
    program = init.start("cat", mode=TERMINAL)
    program.send(b"one\n")
    collect(program.fds, b"one\r\none\r\n")
    program.send(b"\x1a")
    program.send(b"two\n")
    collect(program.fds, b"two\r\ntwo\r\n")
    program.send(b"\x04")
    assert init.ended(program)[0] == 0
    program.close()


def test_niceness_and_limits(init: Init) -> None:
    limits = {
        resource.RLIMIT_NOFILE: 100,
        resource.RLIMIT_NPROC: 50,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 1000,
        resource.RLIMIT_AS: 1 << 30,
    }
    code = (
        "import os, resource as r, sys\n"
        "print(os.nice(0), *(r.getrlimit(int(n)) for n in sys.argv[1:]))\n"
        "fd = os.open('/work/large', os.O_CREAT | os.O_WRONLY)\n"
        "try: print(os.write(fd, bytes(2000)), os.write(fd, b'more'))\n"
        "except OSError as e: print(e.errno)\n"
    )
    _, out, _ = init.run_python(code, *map(str, limits), rlimits=limits, nice=7)
    values = " ".join(f"({value}, {value})" for value in limits.values())
    assert out.decode() == f"{max(7, os.nice(0))} {values}\n{errno.EFBIG}\n"
    before = init.run_python("import resource as r; print(r.getrlimit(r.RLIMIT_FSIZE))")[1]
    assert before == b"(-1, -1)\n"  # the limits are the program's alone


def test_limits_that_cannot_be_raised_fail_the_start(init: Init) -> None:
    with pytest.raises(PermissionError):
        init.start("true", rlimits={resource.RLIMIT_NOFILE: 2**40})
    with pytest.raises(PermissionError):
        init.start("true", mode=TERMINAL, rlimits={resource.RLIMIT_NOFILE: 2**40})
    assert init.run("true")[0] == 0


# --- finding it -------------------------------------------------------------------------------------------------


def test_the_programs_own_path_is_searched(init: Init) -> None:
    script = "#!/bin/sh\necho $0\n"
    for folder in ("one", "two"):
        init.write(f"{folder}/tool", script, 0o644 if folder == "one" else 0o755)
    init.write("here", script, 0o755)
    init.write("file", "")

    def path(value: str) -> dict[str, str]:
        return {"PATH": value}

    assert init.run("tool", env=path("/nowhere:/work/file:/work/one:/work/two"))[1] == b"/work/two/tool\n"
    assert init.run("here", env=path("/nowhere:"))[1] == b"here\n"
    assert init.run("two/tool", env={})[1] == b"two/tool\n"
    assert init.run("echo", "found", env={})[1] == b"found\n"  # a default PATH
    for name, value, error in [
        ("tool", "/work/one:/nowhere", errno.EACCES),
        ("tool", "/nowhere", errno.ENOENT),
        ("tool", "/" + "x" * 5000, errno.ENOENT),
        ("", "/usr/bin", errno.ENOENT),
        ("/work/missing", "", errno.ENOENT),
        ("/work/one/tool", "", errno.EACCES),
        ("/work/two", "", errno.EACCES),
        ("/work/file/x", "", errno.ENOTDIR),
        ("x" * 300, "/usr/bin", errno.ENAMETOOLONG),
    ]:
        for mode in (TERMINAL, SPLIT, PIPES):
            with pytest.raises(OSError, match=re.escape(os.strerror(error))):
                init.start(name, env=path(value), mode=mode)
    assert alive(init)


def test_what_is_no_program_and_folders_that_are_none(init: Init) -> None:
    init.write("text", "not a program", 0o755)
    init.write("script", "#!/nowhere/interpreter\n", 0o755)
    with pytest.raises(OSError, match="Exec format error"):
        init.start("/work/text")
    with pytest.raises(FileNotFoundError):
        init.start("/work/script")
    with pytest.raises(FileNotFoundError):
        init.start("true", cwd="/nowhere")
    with pytest.raises(NotADirectoryError):
        init.start("true", cwd="/work/text")


# --- its end ----------------------------------------------------------------------------------------------------


@MODES
def test_the_end_is_told_with_what_was_used(init: Init, mode: int) -> None:
    code = "import sys, time\ndata = bytearray(100 << 20)\nwhile time.process_time() < 0.3: pass\nsys.exit(41)"
    program = init.python(code, mode=mode)
    status, cpu, peak = init.ended(program)
    assert status == 41
    assert 0.3 <= cpu < 30
    assert 100 << 10 <= peak < 400 << 10
    program.close()


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_signals_end_is_told(init: Init, signum: int) -> None:
    assert init.run("sh", "-c", f"kill -{int(signum)} $$")[0] == -signum


@MODES
def test_output_just_before_the_end_is_never_lost(init: Init, mode: int) -> None:
    size = 64 << 10
    script = f"head -c {size} /dev/zero | tr '\\0' x; exit 5"
    for _ in range(70):
        code, out, _ = finish(init, "sh", "-c", script, mode=mode)
        assert (code, len(out)) == (5, size)
        init.post(RELEASE, args=[init._tag])
    assert init.settle() == []


@MODES
def test_what_is_left_behind_does_not_delay_the_end(init: Init, mode: int) -> None:
    program = init.start("sh", "-c", "trap '' HUP; sleep 1000 & echo $!; exit 3", mode=mode)
    assert init.ended(program)[0] == 3
    outputs = program.fds[1:] if mode == PIPES else program.fds
    collect(outputs, b"\n")
    assert init.signal(program, signal.SIGKILL, TREE) == 0
    collect(outputs)  # the last holder of the terminal or pipe is gone
    wait_until(lambda: init.signal(program, signal.SIGKILL, TREE) == -errno.ESRCH)
    program.close()


def test_release_hangs_the_terminal_up(init: Init) -> None:
    program = init.start("cat", mode=TERMINAL)
    init.post(RELEASE, args=[program.tag])
    collect(program.fds)
    assert init.settle() == []  # no EXIT
    assert init.signal(program, signal.SIGTERM) == -errno.ESRCH
    assert init.ask(RELEASE, args=[program.tag]).result == -errno.ESRCH
    assert init.ask(RELEASE, args=[4711]).result == -errno.ESRCH
    program.close()


def test_as_many_programs_as_documented_and_no_more(init: Init) -> None:
    programs = [init.start("sleep", "1000") for _ in range(PROGRAMS_MAX)]
    with pytest.raises(BlockingIOError):
        init.start("true")
    assert init.signal(programs[9], signal.SIGTERM) == 0
    assert init.ended(programs[9])[0] == -signal.SIGTERM
    with pytest.raises(BlockingIOError):
        init.start("true")
    init.post(RELEASE, args=[programs[9].tag])
    assert init.settle() == []

    def started() -> bool:
        try:
            programs.append(init.start("true"))
        except BlockingIOError:
            return False
        return True

    wait_until(started)
    for program in programs:
        program.close()


def test_programs_started_together_do_not_hold_each_others_pipes(init: Init) -> None:
    tags = [init.post_start("cat", mode=mode) for mode in [PIPES, TERMINAL, SPLIT] * 5]
    programs = [init.started(tag) for tag in tags]
    for program in programs:
        if len(program.fds) == 3:
            os.close(program.fds.pop(0))  # its stdin: cat must see the end though others were being started
            assert init.ended(program)[0] == 0
            assert collect(program.fds) == (b"", b"")
    for program in programs:
        if len(program.fds) != 3:
            program.close()


def test_a_tag_in_use_is_refused(init: Init) -> None:
    program = init.start("sleep", "1000")
    init._tag = program.tag - 1
    with pytest.raises(FileExistsError):
        init.start("true")
    program.close()
