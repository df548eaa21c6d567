"""SIGNAL's three scopes, and what becomes of leaders."""

import errno
import os
import signal

import pytest
from driver import (
    BOX,
    EXIT,
    FOREGROUND,
    PIPES,
    RELEASE,
    SIGNAL,
    SPLIT,
    START,
    TERMINAL,
    TREE,
    Init,
    collect,
    wait_until,
)

MODES = pytest.mark.parametrize("mode", [TERMINAL, SPLIT, PIPES])

CATCH = """
import os, signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
def wait(name):
    os.write(1, name.encode() + b" up\\n")
    signal.sigwait([signal.SIGUSR1])
    os.write(1, name.encode() + b" got it\\n")
    signal.pause()
"""


def test_foreground_is_the_terminals_group(init: Init) -> None:
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGTTOU, signal.SIG_IGN)\n"
        "job = os.fork()\n"
        "if job == 0: os.setpgid(0, 0); signal.pause()\n"
        "os.setpgid(job, job); os.tcsetpgrp(0, job); print('up', flush=True)\n"
        "print(os.WTERMSIG(os.waitpid(job, 0)[1]), flush=True); os.tcsetpgrp(0, os.getpgrp())\n"
        "print('back', flush=True); signal.pause()\n"
    )
    program = init.python(code, mode=SPLIT)
    collect(program.fds, b"up")
    assert init.signal(program, signal.SIGTERM) == 0
    assert b"15\nback" in collect(program.fds, b"back")[0]
    assert init.signal(program, signal.SIGTERM) == 0
    assert init.ended(program)[0] == -signal.SIGTERM
    assert init.signal(program, signal.SIGTERM) == -errno.ESRCH
    program.close()


def test_foreground_without_a_terminal_is_the_programs_group(init: Init) -> None:
    code = CATCH + "if os.fork() == 0: wait('child')\nif os.fork() == 0: os.setsid(); wait('other')\nwait('parent')"
    program = init.python(code)
    seen = b""
    while seen.count(b"up") < 3:
        seen += collect(program.fds[1:], b"up\n")[0]
    assert init.signal(program, signal.SIGUSR1) == 0
    seen = b""
    while seen.count(b"got it") < 2:
        seen += collect(program.fds[1:], b"it\n")[0]
    assert sorted(seen.splitlines()) == [b"child got it", b"parent got it"]
    program.close()


def test_tree_reaches_what_has_left_its_session_and_parents(init: Init) -> None:
    code = CATCH + (
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0: wait('daemon')\n"
        "    os._exit(0)\n"
        "if os.fork() == 0:\n"
        "    if os.fork() == 0: wait('grandchild')\n"
        "    wait('child')\n"
        "wait('parent')\n"
    )
    bystander = init.python(CATCH + "wait('bystander')")
    collect(bystander.fds[1:], b"up")
    program = init.python(code)
    seen = b""
    while seen.count(b"up") < 4:
        seen += collect(program.fds[1:], b"up\n")[0]
    assert init.signal(program, signal.SIGUSR1, TREE) == 0
    seen = b""
    while seen.count(b"got it") < 4:
        seen += collect(program.fds[1:], b"it\n")[0]
    assert init.signal(program, signal.SIGKILL, TREE) == 0
    assert init.ended(program)[0] == -signal.SIGKILL
    assert collect(program.fds[1:]) == (b"", b"")  # and each got it once
    assert init.run("true")[0] == 0
    assert init.signal(bystander, signal.SIGUSR1) == 0
    collect(bystander.fds[1:], b"bystander got it")
    bystander.close()
    program.close()


def test_tree_says_that_it_is_done_only_when_it_is(init: Init) -> None:
    """Chains of processes that each fork the next and end, each in a session of its own."""
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "for _ in range(4):\n"
        "    if os.fork() == 0: break\n"
        "else: print('up', flush=True)\n"
        "while True:\n"
        "    if os.fork(): os._exit(0)\n"
        "    os.setsid()\n"
    )
    program = init.python(code)
    collect(program.fds[1:], b"up")
    for _ in range(20):
        result = init.signal(program, signal.SIGKILL, TREE)
        if result != -errno.EAGAIN:
            assert result in (0, -errno.ESRCH)
            break
    else:
        assert init.ask(SIGNAL, args=[0, signal.SIGKILL, BOX]).result == 0
    init.ended(program)
    collect(program.fds[1:])  # nobody is left who holds them
    program.close()


def test_box_is_everybody_but_init(init: Init) -> None:
    programs = [init.start("sh", "-c", "setsid sleep 1000 & exec sleep 1000", mode=mode) for mode in (TERMINAL, PIPES)]
    assert init.ask(SIGNAL, args=[0, signal.SIGKILL, BOX]).result == 0
    for program in programs:
        assert init.ended(program)[0] == -signal.SIGKILL
        collect(program.fds[1:] or program.fds)
        program.close()
    # What was killed takes a moment to go; then there are init, the leader and the shell that counts.
    wait_until(lambda: init.run("sh", "-c", "set -- /proc/[0-9]*; echo $#")[1] == b"3\n")


def test_signals_to_what_was_never_started(init: Init) -> None:
    for scope in (FOREGROUND, TREE):
        assert init.ask(SIGNAL, args=[999, signal.SIGTERM, scope]).result == -errno.ESRCH


# --- leaders ----------------------------------------------------------------------------------------------------


@MODES
def test_a_program_that_kills_its_leader_is_told_to_have_ended(init: Init, mode: int) -> None:
    program = init.start("sh", "-c", "trap '' HUP; kill -9 $PPID; exec sleep 1000", mode=mode)
    assert init.ended(program)[0] == -signal.SIGKILL
    assert init.signal(program, signal.SIGKILL, TREE) == -errno.ESRCH
    assert init.ask(SIGNAL, args=[0, signal.SIGKILL, BOX]).result in (0, -errno.ESRCH)
    program.close()
    assert init.run("true")[0] == 0


@MODES
def test_a_program_cannot_stop_or_end_its_leader_otherwise(init: Init, mode: int) -> None:
    script = "for s in 1 2 3 13 15 17 20 21 22 34 64 19; do kill -$s $PPID; done; exit 9"
    program = init.start("sh", "-c", script, mode=mode)
    assert init.ended(program)[0] == 9
    program.close()


def test_every_start_and_end_is_told_once_whatever_is_killed(init: Init) -> None:
    tags = []
    for _ in range(40):
        tags += [init.post_start("sh", "-c", "kill -9 -1"), init.post_start("true", mode=TERMINAL)]
        init.post(SIGNAL, args=[0, signal.SIGKILL, BOX])
        for tag in tags[-2:]:
            reply = init.wait_for(lambda reply, tag=tag: (reply.op, reply.tag) == (START, tag))
            assert reply.result in (0, -errno.ECANCELED)
            for fd in reply.fds:
                os.close(fd)
            if reply.result == 0:
                init.wait_for(lambda reply, tag=tag: (reply.op, reply.tag) == (EXIT, tag))
                init.post(RELEASE, args=[tag])
    said = init.settle()
    assert [reply for reply in said if reply.op in (START, EXIT)] == []
    assert init.run("true")[0] == 0
