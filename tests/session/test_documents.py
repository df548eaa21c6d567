"""The documents of a space and their files, in a real box."""

import subprocess
import sys

import pytest

from runnerd.errors import BadRequest, InitRefused, NotFound
from runnerd.sandbox.host import Host

from .copies import Joined
from .spaces import Inside, opened
from .test_space_files import written


def test_a_daemon_starts_without_the_library() -> None:
    program = "import sys, runnerd.server.daemon; print('pycrdt' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program]) == b"False\n"


async def test_programs_and_documents_see_each_others_changes(host: Host) -> None:
    async with opened(host) as space:
        ada, files = Inside(space), space.files
        await files.project(("src",), {"src/main.py": b"print(1)\n"})
        async with space.editing("src/main.py") as editor:
            copy = Joined(editor.document)
            copy.insert(6, "4")
            copy.send()
            assert await ada.out("python src/main.py") == "41\n", "saved before a program starts"
            await ada.out("echo 'print(2)' >> src/main.py")
            copy.insert(0, "# typed meanwhile\n")
            copy.send()
            assert await files.read("src/main.py") == b"# typed meanwhile\nprint(41)\nprint(2)\n"
            await copy.take()
            assert str(copy) == "# typed meanwhile\nprint(41)\nprint(2)\n"
            await ada.out("echo '# program' > src/main.py")
            files.documents.changed("src")
            await files.settled()
            await copy.take()
            assert str(copy) == "# program\n"


async def test_moves_and_deletions_close_what_was_saved(host: Host) -> None:
    async with opened(host) as space:
        files = space.files
        await files.project(("src",), {"src/a.py": b"a", "src/b.py": b"b"})
        async with space.editing("src/a.py") as one, space.editing("src/b.py") as two:
            for editor in (one, two):
                copy = Joined(editor.document)
                copy.insert(1, "!")
                copy.send()
            assert await files.rename("src", "lib") == "lib"
            for editor in (one, two):
                with pytest.raises(NotFound):
                    while True:
                        await editor.next()
        assert (await files.read("lib/a.py"), await files.read("lib/b.py")) == (b"a!", b"b!")
        async with space.editing("lib/a.py") as editor:
            await files.delete("lib/a.py")
            with pytest.raises(NotFound):
                while True:
                    await editor.next()
        with pytest.raises(NotFound):
            async with space.editing("lib/a.py"):
                pass


async def test_who_comes_back_has_the_same_document(host: Host) -> None:
    async with opened(host) as space:
        await written(space.files, "a", b"one")
        async with space.editing("a") as editor:
            before = editor.document
        await written(space.files, "a", b"one two")
        async with space.editing("a") as editor:
            assert editor.document is before
            assert editor.document.text == "one two"


async def test_what_is_no_file_inside_the_tree(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        await ada.out("mkdir folder; mkfifo pipe; ln -s /etc/passwd out; ln -s nowhere dangling; ln -s /dev/zero zero")
        for path in ("folder", "pipe", "out", "dangling", "zero"):
            with pytest.raises((BadRequest, InitRefused, NotFound)):
                async with space.editing(path):
                    pass
        # A link that is put in the place of an open file leads nowhere either.
        await written(space.files, "a", b"one")
        async with space.editing("a") as editor:
            copy = Joined(editor.document)
            await ada.out("ln -sf /etc/hostname a")
            copy.insert(0, "x")
            copy.send()
            with pytest.raises(InitRefused):
                while True:
                    await editor.next()
