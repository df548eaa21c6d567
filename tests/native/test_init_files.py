"""init's file work: beneath the work tree, whole, and never astray."""

import errno
import os
import stat
from collections.abc import Callable

import pytest
from driver import DELETE, LIST, MESSAGE_MAX, MKDIR, OPEN, RENAME, WRITE, Init, alive, collect

TMP = 1
"""The file work's second tree."""


def delete(init: Init, path: str) -> int:
    return init.ask(DELETE, os.fsencode(path) + b"\0").result


def rename(init: Init, old: str, new: str) -> int:
    return init.ask(RENAME, os.fsencode(old) + b"\0" + os.fsencode(new) + b"\0").result


def mkdir(init: Init, path: str, mode: int = 0o755) -> int:
    return init.ask(MKDIR, os.fsencode(path) + b"\0", [mode]).result


def open_(init: Init, path: str) -> int:
    """0 or -errno."""
    reply = init.ask(OPEN, os.fsencode(path) + b"\0")
    for fd in reply.fds:
        os.close(fd)
    return reply.result


def listing(init: Init, path: str) -> int:
    return init.ask(LIST, os.fsencode(path) + b"\0").result


def write(init: Init, path: str) -> int:
    return init.write(path, "new")


def rename_to(init: Init, path: str) -> int:
    return rename(init, "source", path)


def rename_from(init: Init, path: str) -> int:
    return rename(init, path, "target")


def test_writing_makes_parents_and_sets_the_mode(init: Init) -> None:
    assert init.write("a/b/c.txt", "text", 0o750) == 0
    assert init.write("top", b"\0\xff", 0o444) == 0
    assert init.read("a/b/c.txt") == b"text"
    assert init.read("top") == b"\0\xff"
    assert stat.S_IMODE(init.list("a/b")["c.txt"][2]) == 0o750
    assert {name: stat.filemode(entry[2]) for name, entry in init.list().items()} == {
        "a": "drwxr-xr-x",
        "top": "-r--r--r--",
    }


def test_the_file_work_has_two_trees_and_no_third(init: Init) -> None:
    assert init.write("program", "#!/bin/sh\ncat /tmp/program /work/program | wc -l\n", 0o755, TMP) == 0
    assert init.write("program", "text\n") == 0
    assert init.run("/tmp/program") == (0, b"3\n", b"")
    assert (init.read("program", TMP)[:2], init.read("program")) == (b"#!", b"text\n")
    for path in ("../work/program", "/work/program"):
        assert init.ask(OPEN, path.encode() + b"\0", [0, TMP]).result == -errno.EXDEV
    assert init.run("/usr/bin/ln", "-s", "/work/program", "/tmp/astray")[0] == 0
    assert init.ask(OPEN, b"astray\0", [0, TMP]).result in (-errno.EXDEV, -errno.ELOOP)
    for op, payload in ((WRITE, b"x\0"), (MKDIR, b"x\0"), (RENAME, b"program\0x\0"), (DELETE, b"program\0")):
        assert init.ask(op, payload, [0o644, 2]).result == -errno.EINVAL
    for op in (LIST, OPEN):
        assert init.ask(op, b".\0", [0, 2]).result == -errno.EINVAL


def test_writing_replaces_whole_files(init: Init) -> None:
    init.write("file", "old and long")
    held = init.ask(OPEN, b"file\0").fds[0]
    assert init.write("file", "new") == 0
    with open(held, "rb") as file:
        assert file.read() == b"old and long"
    assert init.read("file") == b"new"
    assert list(init.list()) == ["file"]


def test_writing_from_a_descriptor(init: Init) -> None:
    content = os.urandom(1_000_001)
    fd = os.memfd_create("content")
    os.write(fd, content)  # its position is at the end: init reads from 0
    assert init.ask(WRITE, b"folder/large\0", [0o600], [fd]).result == 0
    os.close(fd)
    assert init.read("folder/large") == content


def test_a_file_that_does_not_fit_leaves_the_old_one(init: Init) -> None:
    init.write("file", "old")
    fd = os.memfd_create("content")
    os.truncate(fd, 300 << 20)
    assert init.ask(WRITE, b"file\0", [0o600], [fd]).result == -errno.ENOSPC
    os.close(fd)
    assert init.read("file") == b"old"
    assert list(init.list()) == ["file"]


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "-", " ", "a\nb", "\udcff\udcfe", ".hidden", "x~"])
def test_any_name_works(init: Init, name: str) -> None:
    assert init.write(name, "text") == 0
    assert list(init.list()) == [name]
    assert init.read(name) == b"text"
    assert rename(init, name, f"folder-{name[:9]}") == 0
    assert delete(init, f"folder-{name[:9]}") == 0
    assert init.list() == {}


OPERATIONS: list[Callable[[Init, str], int]] = [write, mkdir, delete, listing, open_, rename_to, rename_from]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/",
        "../up",
        "a/../../up",
        "out/passwd",
        "up/etc/passwd",
        "absolute/x",
        "loop/x",
        "proc/x",
        "proc/cwd/x",
    ],
)
def test_nothing_leads_out_of_the_work_tree(init: Init, operation: Callable[[Init, str], int], path: str) -> None:
    init.write("source", "text")
    mkdir(init, "a")
    links = "ln -s /etc out; ln -s .. up; ln -s /tmp absolute; ln -s loop loop; ln -s /proc/self proc; touch /tmp/x"
    assert init.run("sh", "-c", links)[0] == 0
    result = operation(init, path)
    # A loop, or the last two, may be refused for what they are rather than for where they lead.
    assert result in (-errno.EXDEV, -errno.ELOOP)
    assert init.run("ls", "/tmp")[1] == b"x\n"
    assert init.read("source") == b"text"


def test_links_within_the_work_tree_are_followed_on_the_way_and_not_at_the_end(init: Init) -> None:
    assert (
        init.run("sh", "-c", "mkdir -p real/deep; echo text >real/file; ln -s real link; ln -s real/file alias")[0] == 0
    )
    assert init.read("link/file") == b"text\n"
    assert init.write("link/other", "more") == 0
    assert init.read("real/other") == b"more"
    assert init.write("link/deep/../third", "3") == 0
    assert init.read("real/third") == b"3"
    assert open_(init, "alias") == -errno.ELOOP
    assert init.write("alias", "replaced") == 0  # the link, not what it names
    assert init.read("real/file") == b"text\n"
    assert mkdir(init, "link/made/deeper") == 0
    assert "deeper" in init.list("real/made")
    assert delete(init, "link") == 0
    assert "file" in init.list("real")


def test_folders(init: Init) -> None:
    assert mkdir(init, "a/b/c/", 0o700) == 0
    assert mkdir(init, "a/b/c") == 0
    assert mkdir(init, ".") == 0
    assert mkdir(init, "./a//b/./d") == 0
    assert {name: stat.S_IMODE(entry[2]) for name, entry in init.list("a/b").items()} == {"c": 0o700, "d": 0o755}
    init.write("file", "")
    assert mkdir(init, "file") == -errno.ENOTDIR
    assert mkdir(init, "file/x") == -errno.ENOTDIR
    assert mkdir(init, "") == -errno.ENOENT
    assert init.write("a", "") == -errno.EISDIR
    assert init.write("", "") == -errno.ENOENT
    assert init.write("a/.", "") == -errno.EINVAL
    assert init.write("x" * 256, "") == -errno.ENAMETOOLONG
    assert init.write("y/" * 3000 + "x", "") == -errno.ENAMETOOLONG
    assert mkdir(init, "/".join(["d"] * 2000)) == 0
    assert delete(init, "d") == 0


def test_renaming(init: Init) -> None:
    init.write("a", "1")
    init.write("b", "2")
    mkdir(init, "folder/inner")
    assert rename(init, "a", "b") == 0
    assert init.read("b") == b"1"
    assert rename(init, "b", "folder/inner/c") == 0
    assert rename(init, "folder", "moved/") == 0
    assert init.read("moved/inner/c") == b"1"
    assert rename(init, "missing", "x") == -errno.ENOENT
    assert rename(init, "moved", "moved/inner/x") == -errno.EINVAL
    assert rename(init, "moved", "nowhere/x") == -errno.ENOENT
    assert rename(init, "moved", "..") == -errno.EINVAL


def test_deleting(init: Init) -> None:
    init.write("file", "")
    mkdir(init, "empty")
    script = (
        "mkdir -p tree/a/b tree/c /tmp/kept; touch tree/a/b/f tree/c/g /tmp/kept/file; ln -s /tmp/kept tree/a/out;"
        "mkfifo tree/pipe; mkdir -p tree/locked/in; touch tree/locked/in/f; chmod 555 tree/locked tree/locked/in"
    )
    assert init.run("sh", "-c", script)[0] == 0
    for path in ("file", "empty", "tree"):
        assert delete(init, path) == 0
    assert init.list() == {}
    assert init.run("ls", "/tmp/kept")[1] == b"file\n"
    assert delete(init, "tree") == -errno.ENOENT
    assert delete(init, ".") == -errno.EINVAL


def test_deleting_a_folder_that_is_closed_to_its_owner_says_so(init: Init) -> None:
    assert init.run("sh", "-c", "mkdir -p tree/in/x; chmod 000 tree/in")[0] == 0
    assert delete(init, "tree") == -errno.EACCES


def test_deleting_thousands_of_levels(init: Init) -> None:
    code = (
        "import os\n"
        "for n in range(5000):\n"
        "    os.mkdir('d'); os.mkdir('e'); open('f', 'w').close(); os.mkdir('.runnerd~%d' % n); os.chdir('d')\n"
    )
    assert init.run_python(code)[0] == 0
    assert delete(init, "d") == 0
    for rest in ("e", "f", ".runnerd~0"):
        assert delete(init, rest) == 0
    assert init.list() == {}


def test_deleting_what_is_refilled_meanwhile_ends(init: Init) -> None:
    code = (
        "import os\n"
        "os.makedirs('/work/tree', exist_ok=True); print('up', flush=True)\n"
        "while True:\n"
        "    try: os.makedirs('/work/tree/a/b/c', exist_ok=True); open('/work/tree/a/b/c/f', 'w').close()\n"
        "    except OSError: pass\n"
    )
    program = init.python(code)
    collect(program.fds[1:], b"up")
    for _ in range(20):
        assert delete(init, "tree") in (0, -errno.ENOENT, -errno.ETIMEDOUT)
    assert init.signal(program, 9) == 0
    init.ended(program)
    program.close()
    assert delete(init, "tree") in (0, -errno.ENOENT)
    assert init.list() == {}


def test_listing(init: Init) -> None:
    assert init.list() == {}
    init.write("file", "12345")
    script = "mkdir folder; ln -s nowhere link; mkfifo pipe; touch -d @1000 old"
    assert init.run("sh", "-c", script)[0] == 0
    entries = init.list(".")
    assert {name: stat.filemode(entry[2])[0] for name, entry in entries.items()} == {
        "file": "-",
        "folder": "d",
        "link": "l",
        "pipe": "p",
        "old": "-",
    }
    assert entries["file"][0] == 5
    assert entries["old"][1] == 1000
    assert listing(init, "file") == -errno.ENOTDIR
    assert listing(init, "missing") == -errno.ENOENT


def test_listing_more_than_one_message_holds(init: Init) -> None:
    names = {f"{number:04d}" + "x" * 200 for number in range(2000)}
    code = "import os\nfor n in range(2000): open(f'{n:04d}' + 'x' * 200, 'w').close()"
    assert init.run_python(code)[0] == 0
    assert set(init.list()) == names
    assert len(names) * 200 > 2 * MESSAGE_MAX


def test_opening_only_what_can_be_read(init: Init) -> None:
    assert init.run("sh", "-c", "mkfifo pipe; ln -s pipe link; mkdir folder; touch shut; chmod 0 shut")[0] == 0
    assert open_(init, "pipe") == -errno.ENXIO  # and at once: nobody has it open for writing
    assert open_(init, "link") == -errno.ELOOP
    assert open_(init, "missing") == -errno.ENOENT
    assert open_(init, "shut") == -errno.EACCES
    folder = init.ask(OPEN, b"folder\0").fds[0]
    assert stat.S_ISDIR(os.fstat(folder).st_mode)
    os.close(folder)
    code = "import socket; socket.socket(socket.AF_UNIX).bind('socket')"
    assert init.run_python(code)[0] == 0
    assert open_(init, "socket") == -errno.ENXIO


def test_a_lease_does_not_keep_init(init: Init) -> None:
    init.write("file", "text")
    code = (
        "import fcntl, os, signal\n"
        "signal.signal(signal.SIGIO, signal.SIG_IGN)\n"
        "fd = os.open('/work/file', os.O_RDONLY); fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n"
        "print('up', flush=True); signal.pause()\n"
    )
    program = init.python(code)
    collect(program.fds[1:], b"up")
    assert open_(init, "file") in (0, -errno.EAGAIN)
    assert init.write("file", "other") == 0
    assert init.read("file") == b"other"
    assert alive(init)
    program.close()
