"""Starts bubblewrap for one box."""

import os
import socket
from collections.abc import Sequence

from runnerd.sandbox.channel import socketpair
from runnerd.sandbox.host import Host
from runnerd.sandbox.spawn import Child, spawn


def launch(host: Host, argv: Sequence[str], uid: int | None, cgroup: int | None) -> tuple[Child, socket.socket, int]:
    """Start bubblewrap in `cgroup`: 0 and 1 are /dev/null, 2 a pipe of its words, 3 init's socket, 4 its arguments.

    Never a terminal among them: `--dev` would bind it as the box's /dev/console. Returns the process, our end of
    init's socket, and the descriptor of its words.
    """
    ours, theirs = socketpair()
    words, stderr = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    arguments = os.memfd_create("runnerd-arguments", os.MFD_CLOEXEC)
    separator = argv.index("--")
    os.write(arguments, b"".join(os.fsencode(word) + b"\0" for word in argv[:separator]))
    os.lseek(arguments, 0, os.SEEK_SET)
    try:
        child = spawn(
            [host.bubblewrap, "--args", "4", *argv[separator:]],
            {},
            [host.null, host.null, stderr, theirs.fileno(), arguments],
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
        os.close(arguments)
    return child, ours, words
