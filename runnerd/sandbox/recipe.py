"""How a backend's program builds one box: a value that bubblewrap.py or nsjail.py makes, and launch.py starts."""

import msgspec

INIT = "/opt/runnerd/init"
"""Where init and the files it shares with every box are, as seen in a box."""

BOX_UID = 1000
"""The user `runner` in every box, whatever uid stands behind it on the host."""

TERMINALS = 64
"""Open ones, at most, in a box. The kernel counts those of all boxes together (kernel.pty.max: 4096, with 1024 kept for
the host), so one box without a maximum of its own could take them all. This is enough for each of its processes."""

DEVPTS = f"ptmxmode=0666,mode=620,max={TERMINALS}"
"""The options of a box's /dev/pts."""

RECIPE = 4
"""The descriptor that the program reads `Recipe.read` from."""


class Recipe(msgspec.Struct, frozen=True):
    """`words` follow the program's name; `read` is what it finds on descriptor 4."""

    words: tuple[str, ...]
    read: bytes
