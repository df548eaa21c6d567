"""News of ports that programs open and close, from a real box."""

import socket

import trio
from hypothesis import given
from hypothesis import strategies as st

from runnerd.sandbox import sockdiag
from runnerd.sandbox.host import Host
from runnerd.session import ports
from runnerd.session.members import Listening
from runnerd.session.space import Space

from .spaces import Inside, opened

SERVER = """\
import socket, sys
held = [socket.create_server((host, port), family=family) for host, port, family in (
    ("127.0.0.1", 3000, socket.AF_INET), ("::", 4000, socket.AF_INET6))]
client = socket.create_connection(("127.0.0.1", 3000))
print("up", flush=True)
input()
"""


async def hears(inside: Inside, count: int) -> list[tuple[int, bool]]:
    heard: list[tuple[int, bool]] = []
    while len(heard) < count:
        news = await inside.member.news()
        heard += [(each.port, each.open) for each in news if isinstance(each, Listening)]
    return heard


async def looked(space: Space) -> None:
    while space._ports is None:  # pyright: ignore[reportPrivateUsage]
        await trio.sleep(0.01)


async def test_ports_that_open_and_close_are_told_also_to_who_comes_later(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        await looked(space)
        ada.write("server.py", SERVER.encode())
        seen = await ada.start("python server.py")
        assert await hears(ada, 2) == [(3000, True), (4000, True)]
        bob = Inside(space, "bob", host=False)
        assert await hears(bob, 2) == [(3000, True), (4000, True)]
        await space.shell(ada.member, "")
        assert await hears(ada, 2) == [(3000, False), (4000, False)]
        assert await hears(bob, 2) == [(3000, False), (4000, False)]
        seen.viewer.close()


async def test_a_server_that_stays_behind_is_noticed(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        await looked(space)
        await ada.out("trap '' HUP; python -m http.server 5000 > /dev/null 2>&1 & echo $! > pid")
        assert await hears(ada, 1) == [(5000, True)]
        await ada.out("kill $(cat pid)")
        assert await hears(ada, 1) == [(5000, False)]


async def test_many_ports_are_not_told(host: Host) -> None:
    async with opened(host) as space:
        ada = Inside(space)
        await looked(space)
        many = f"[__import__('socket').create_server(('', 2000 + n)) for n in range({ports.PORTS_MAX + 30})]"
        await ada.start(f'python -c "held = {many}; input()"')
        told = await hears(ada, ports.PORTS_MAX)
        assert len(told) == ports.PORTS_MAX
        assert all(port >= 2000 and open for port, open in told)


def test_the_kernel_tells_which_ports_are_listened_on() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as diag:
        with server, socket.create_connection(server.getsockname()):
            assert port in (sockdiag.listening(diag.fileno()) or ())
        assert port not in (sockdiag.listening(diag.fileno()) or {port})
        sockets, _, _ = sockdiag._REQUESTS[0]  # pyright: ignore[reportPrivateUsage]
        diag.send(sockets)
        assert sockdiag.listening(diag.fileno()) is None, "answers to somebody else wait"


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer(data: bytes) -> None:
    ports, _ = sockdiag.parse_ports(data)
    assert all(0 <= port < 65536 for port in ports)
