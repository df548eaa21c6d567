"""Starts the program that builds one box: bubblewrap or nsjail."""

import os
import socket

from runnerd.sandbox.channel import socketpair
from runnerd.sandbox.host import Host
from runnerd.sandbox.recipe import Recipe
from runnerd.sandbox.spawn import Child, spawn


def launch(host: Host, recipe: Recipe, uid: int | None, cgroup: int | None) -> tuple[Child, socket.socket, int]:
    """Start it in `cgroup`: 0 and 1 are /dev/null, 2 a pipe of its words, 3 init's socket, 4 what it reads.

    Never a terminal among them: bubblewrap's `--dev` would bind it as the box's /dev/console. Returns the process, our
    end of init's socket, and the descriptor of its words.
    """
    ours, theirs = socketpair()
    words, stderr = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    read = os.memfd_create("runnerd-recipe", os.MFD_CLOEXEC)
    os.write(read, recipe.read)
    os.lseek(read, 0, os.SEEK_SET)
    try:
        child = spawn(
            [host.program, *recipe.words],
            {},
            [host.null, host.null, stderr, theirs.fileno(), read],
            uid=uid,
            cgroup=cgroup,
        )
    except BaseException:
        ours.close()
        os.close(words)
        raise
    finally:
        theirs.close()
        os.close(stderr)
        os.close(read)
    return child, ours, words
