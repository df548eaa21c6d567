"""Run in a network namespace of its own: connects from boxes to an address that this namespace can reach.

Prints what the box met, and what a box without its own network did.
"""

import socket
import subprocess
import sys

import trio

from runnerd.config import Config
from runnerd.sandbox.host import Host, open_host
from runnerd.sandbox.spec import Limits
from tests.sandbox.running import run

from .layers import without

ADDRESS = "192.0.2.1"
CONNECT = (
    "import errno, socket, sys\n"
    "try: socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)\n"
    "except OSError as problem: print(errno.errorcode[problem.errno])\n"
    "else: print('connected')"
)


def make_network() -> None:
    """One address of documentation's, on the only interface that every kernel has; a box's own has it not."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"], check=True)


async def main(host: Host) -> None:
    with socket.create_server((ADDRESS, 0)) as server:
        command = ("python3", "-c", CONNECT, ADDRESS, str(server.getsockname()[1]))
        spec = host.spec(Limits())
        print((await run(host, *command, spec=spec)).stdout.strip())
        print((await run(host, *command, spec=spec, recipe=without(host, spec, "own network"))).stdout.strip())


if __name__ == "__main__":
    make_network()
    with open_host(Config(backend="nsjail" if "nsjail" in sys.argv else "bubblewrap"), limits="best-effort") as host:
        trio.run(main, host)
