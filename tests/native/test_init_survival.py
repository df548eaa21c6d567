"""What the box's programs can try against init, without the seccomp filters that refuse most of it beforehand.

Every attack has a control: the same code, aimed at a process that is not protected, works.
"""

import errno
import signal

import pytest
from driver import BOX, DELETE, FILTER, PIPES, SIGNAL, TERMINAL, TREE, Init, alive, collect
from test_init import refuse

PRELUDE = """
import ctypes, errno, os, signal, socket, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def call(function, *arguments):
    "0 or more, or -errno."
    result = function(*arguments)
    return -ctypes.get_errno() if result < 0 else result
def attempt(function, *arguments):
    "0, or -errno of the OSError."
    try: function(*arguments)
    except OSError as error: return -error.errno
    return 0
victim = int(sys.argv[1])
if victim == 0:      # the leader
    victim = os.getppid()
elif victim == -1:   # the control: an ordinary process of the box
    ready, up = os.pipe()
    victim = os.fork()
    if victim == 0:
        libc.prctl(0x59616d61, -1, 0, 0, 0)  # Yama, where it is on: whoever wants may
        os.set_inheritable(up, True)
        os.execvp("sh", ["sh", "-c", f"echo >&{up}; exec sleep 1000"])
    os.read(ready, 1)
"""
INIT, LEADER, CONTROL = "1", "0", "-1"
PROTECTED = pytest.mark.parametrize("victim", [INIT, LEADER])


def attack(init: Init, code: str, victim: str, mode: int = PIPES) -> str:
    """What the code prints."""
    ending = "attempt(os.kill, victim, signal.SIGKILL)\n" if victim == CONTROL else ""
    program = init.start("/usr/bin/python3", "-c", PRELUDE + code + ending, victim, mode=mode)
    out = collect(program.fds[1:] if mode == PIPES else program.fds)
    assert init.ended(program)[0] == 0, out
    program.close()
    assert init.ask(SIGNAL, args=[program.tag, signal.SIGKILL, TREE]).result in (0, -errno.ESRCH)
    return out[0].decode().strip()


PROC = """
for name in "environ mem maps auxv stack syscall fd/3 fd/0 cwd/ root/ exe ns/pid map_files/".split():
    path = f"/proc/{victim}/{name}"
    read = os.readlink if name.startswith(("ns", "fd")) else os.listdir if name.endswith("/") else None
    if name != "stack" or os.path.exists(path):
        print(name, attempt(read, path) if read else attempt(lambda: open(path, "rb").read(1)))
"""
UNREADABLE = {-errno.EACCES, -errno.EPERM}


@PROTECTED
def test_proc_shows_nothing_of_init_or_leaders(init: Init, victim: str) -> None:
    results = dict(line.split() for line in attack(init, PROC, victim).splitlines())
    none = {-errno.ENOENT} if victim == LEADER else set()  # a leader has no descriptors at all
    refusals = {name: UNREADABLE | (none if name.startswith("fd") else set()) for name in results}
    assert {name: int(result) for name, result in results.items() if int(result) not in refusals[name]} == {}
    assert len(results) >= 12


def test_proc_shows_it_of_others(init: Init) -> None:
    results = dict(line.split() for line in attack(init, PROC, CONTROL).splitlines())
    for name in ("environ", "maps", "auxv", "fd/0", "cwd/", "root/", "exe", "ns/pid"):
        assert int(results[name]) == 0, name


TRACE = (
    "PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206\n"
    "buffer = ctypes.create_string_buffer(8)\n"
    "class Part(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('size', ctypes.c_size_t)]\n"
    "maps = attempt(lambda: open(f'/proc/{victim}/maps').read())\n"
    "address = int(open(f'/proc/{victim}/maps').read().split('-')[0], 16) if maps == 0 else 0x400000\n"
    "ours, theirs = Part(ctypes.addressof(buffer), 8), Part(address, 8)\n"
    "pidfd = os.pidfd_open(victim)\n"
    "print('vm', call(libc.process_vm_readv, victim, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0))\n"
    "print('getfd', call(libc.syscall, 438, pidfd, 0, 0))\n"
    "print('seize', call(libc.ptrace, PTRACE_SEIZE, victim, 0, 0))\n"
    "print('attach', call(libc.ptrace, PTRACE_ATTACH, victim, 0, 0))\n"
)


@PROTECTED
def test_nobody_can_trace_init_or_leaders(init: Init, victim: str) -> None:
    results = dict(line.split() for line in attack(init, TRACE, victim).splitlines())
    assert results == dict.fromkeys(("vm", "getfd", "seize", "attach"), str(-errno.EPERM))
    assert alive(init)


def test_others_can_be_traced(init: Init) -> None:
    results = dict(line.split() for line in attack(init, TRACE, CONTROL).splitlines())
    assert results["vm"] == "8"
    assert int(results["getfd"]) > 2
    assert results["seize"] == "0"


FLOOD = (
    "done = 0\n"
    "for number in range(1, 65):\n"
    "    if sys.argv[1] == '0' and number == signal.SIGKILL: continue\n"
    "    for _ in range(200):\n"
    "        try: os.kill(victim, number); done += 1\n"
    "        except OSError as error: assert error.errno == errno.EAGAIN, error\n"
    "    libc.syscall(234, victim, victim, number)\n"  # tgkill
    "print(done > 0)\n"
)


@PROTECTED
@pytest.mark.parametrize("mode", [PIPES, TERMINAL])
def test_signals_do_nothing_to_init_and_leaders(init: Init, victim: str, mode: int) -> None:
    assert attack(init, FLOOD, victim, mode) == "True"
    assert alive(init)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, 34])
def test_signals_end_or_stop_others(init: Init, number: int) -> None:
    code = (
        f"os.kill(victim, {int(number)})\n"
        "status = os.waitpid(victim, os.WUNTRACED)[1]\n"
        "print(os.WSTOPSIG(status) if os.WIFSTOPPED(status) else os.WTERMSIG(status))\n"
    )
    assert attack(init, code, CONTROL) == str(int(number))


def test_killing_all_ends_leaders_and_not_init(init: Init) -> None:
    quiet = init.start("sleep", "1000")
    program = init.start("sh", "-c", "kill -9 -1; echo on; exec sleep 1000")
    assert init.ended(quiet)[0] == -signal.SIGKILL
    assert init.ended(program)[0] == -signal.SIGKILL
    collect(program.fds[1:], b"on")  # it spared itself, and lives on without a leader
    assert init.ask(SIGNAL, args=[0, signal.SIGKILL, BOX]).result == 0
    collect(program.fds[1:])
    for each in (quiet, program):
        each.close()
    assert init.run("true")[0] == 0


PRLIMIT64 = 302
LIMIT = (
    "import resource\n"
    "print(attempt(resource.prlimit, victim, resource.RLIMIT_NOFILE, (3, 3)))\n"
    "print(attempt(resource.prlimit, 0, resource.RLIMIT_CORE, (0, 0)))\n"
)


def test_a_filter_keeps_limits_from_being_laid_on_init(init: Init) -> None:
    """The kernel lets any process of the same user lower another's limits, PID 1's too: the filters must not."""
    assert attack(init, LIMIT, CONTROL).split() == ["0", "0"]
    init.post(FILTER, refuse(PRLIMIT64, argument=0))
    assert init.settle() == []
    for victim in (INIT, LEADER):
        assert attack(init, LIMIT, victim).split() == [str(-errno.EPERM), "0"]
    assert init.write("file", "text") == 0


def test_without_it_init_loses_its_descriptors(init: Init) -> None:
    assert attack(init, LIMIT, INIT).split() == ["0", "0"]
    assert init.write("file", "text") == -errno.EMFILE


def test_a_crowd_of_processes_leaves_init_able_to_start_one(init: Init) -> None:
    code = "for n in range(300):\n    if os.fork() == 0: signal.pause()\nprint('up', flush=True); signal.pause()\n"
    program = init.start("/usr/bin/python3", "-c", PRELUDE + code, INIT)
    collect(program.fds[1:], b"up")
    assert init.run("true")[0] == 0
    assert init.signal(program, signal.SIGKILL, TREE) == 0
    collect(program.fds[1:])
    program.close()


def test_zombies_and_orphans_are_reaped(init: Init) -> None:
    code = (
        "for n in range(300):\n"
        "    if os.fork() == 0:\n"
        "        if os.fork(): os._exit(0)\n"
        "        os.setsid(); os._exit(0)\n"
        "    os.wait()\n"
        "while [1 for p in os.listdir('/proc') if p.isdigit() and int(p) not in (1, os.getpid(), os.getppid())]: pass\n"
        "print('clean')\n"
    )
    assert attack(init, code, INIT) == "clean"


def test_full_file_systems_leave_init_working(init: Init) -> None:
    code = (
        "for folder in ('/work', '/tmp', '/dev/shm'):\n"
        "    with open(folder + '/fill', 'wb', buffering=0) as file:\n"
        "        try:\n"
        "            while True: file.write(bytes(1 << 20))\n"
        "        except OSError as error: print(error.errno)\n"
    )
    assert set(attack(init, code, INIT).split()) == {str(errno.ENOSPC)}
    assert init.write("file", b"x" * 50_000) == -errno.ENOSPC
    assert init.run("true", mode=PIPES)[0] == 0
    assert "fill" in init.list()
    assert init.ask(DELETE, b"fill\0").result == 0
    assert init.write("file", b"x" * 50_000) == 0


def test_descriptors_in_flight_do_not_use_up_those_of_init(init: Init) -> None:
    code = (
        "import array, resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))\n"
        "held = []; rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0] * 100))]\n"
        "try:\n"
        "    for _ in range(60):\n"
        "        a, b = socket.socketpair(); held += [a, b]; a.setblocking(False)\n"
        "        for _ in range(10): a.sendmsg([b'x'], rights)\n"
        "except OSError as error: print(error.errno, flush=True)\n"
        "sys.stdin.read()\n"
    )
    program = init.start("/usr/bin/python3", "-c", PRELUDE + code, INIT)
    assert int(collect(program.fds[1:], b"\n")[0]) in (errno.ETOOMANYREFS, errno.EMFILE)
    assert init.run("true", mode=PIPES)[0] == 0
    program.close()


def test_devices_and_mounts_of_init_are_not_reachable(init: Init) -> None:
    """Neither the standard descriptors of init nor its socket lead anywhere from a program."""
    code = (
        "print(attempt(os.open, '/proc/1/fd/2', os.O_WRONLY), attempt(os.open, '/dev/console', os.O_RDWR),\n"
        "      sorted(os.listdir('/dev/pts')), [l for l in open('/proc/net/unix') if '@' in l])\n"
    )
    out = attack(init, code, INIT, TERMINAL)
    assert out == f"{-errno.EACCES} {-errno.ENOENT} ['0', 'ptmx'] []"


def test_the_terminals_of_others_can_be_reached_only_within_the_box(init: Init) -> None:
    """Two programs of one box share its devpts: a program may write to another's terminal, and its leader stays."""
    victim = init.start("sleep", "1000", mode=TERMINAL)
    code = "fd = os.open('/dev/pts/0', os.O_RDWR | os.O_NOCTTY); os.write(fd, b'x' * 100); print(os.ttyname(fd))\n"
    assert attack(init, code, INIT) == "/dev/pts/0"
    collect(victim.fds, b"x" * 100)
    victim.send(b"\x03")
    assert init.ended(victim)[0] == -signal.SIGINT
    victim.close()
