"""Previews of servers in a real box, by clients that are no browsers."""

import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.e2e.previewing import PATIENCE, SITE, Inside, inside, status
from tests.e2e.serving import Daemon


@pytest.fixture
def space(daemon: Daemon) -> Iterator[Inside]:
    with inside(daemon) as space:
        yield space


@pytest.mark.timeout(60)
def test_servers_in_a_space(daemon: Daemon, space: Inside) -> None:
    space.write("www/a b.txt", "found")
    space.write("site.py", SITE)
    space.start("python3 -m http.server -d www 8000")
    space.start("python3 site.py")
    files, site = space.preview(8000), space.preview(3000)

    with urllib.request.urlopen(f"{files}a%20b.txt", timeout=PATIENCE) as answer:
        assert answer.read() == b"found"
        assert answer.headers["Last-Modified"]
    assert status(f"{files}nothing") == 404

    with urllib.request.urlopen(site, b"x" * 3_000_000 + b"end", timeout=PATIENCE) as answer:
        assert answer.read() == b"dne" + b"x" * 3_000_000
        assert "Set-Cookie" not in answer.headers

    with urllib.request.urlopen(f"{site}events", timeout=PATIENCE) as answer:
        assert [answer.readline() for _ in range(3)] == [b"data: event 1\n", b"\n", b"data: event 2\n"]

    with connect(f"{site.replace('http:', 'ws:')}echo", open_timeout=PATIENCE, proxy=None) as echo:
        for word in ("hello", "ä" * 50, b"\0\xff"):
            echo.send(word)
            assert echo.recv(PATIENCE) == word

    assert status(space.preview(3000).replace("/3000/", "/8000/")) == 403


EVIL = """\
import socket, threading
OK = b"HTTP/1.1 200 OK\\r\\n"
ANSWERS = {
    b"words": [b"SSH-2.0-x\\r\\n"],
    b"lengths": [OK + b"Content-Length: 1\\r\\nContent-Length: 2\\r\\n\\r\\nhi"],
    b"split": [OK + b"X: a\\rSet-Cookie: b=c\\r\\nContent-Length: 0\\r\\n\\r\\n"],
    b"heads": [OK, *[b"X: " + b"x" * 1000 + b"\\r\\n"] * 100_000],
    b"soon": [b"HTTP/1.1 103 Soon\\r\\n\\r\\n"] * 1000 + [b"x\\r\\n\\r\\n"],
    b"switch": [b"HTTP/1.1 101 Switching\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n"],
    b"body": [OK + b"\\r\\n", *[b"x" * 65536] * 100_000],
    b"good": [OK + b"Content-Length: 2\\r\\n\\r\\nhi"],
}

def serve(connection):
    with connection:
        try:
            path = connection.recv(65536).split(b" ")[1]
            for each in ANSWERS[path.strip(b"/") or b"good"]:
                connection.sendall(each)
        except OSError:
            pass

with socket.create_server(("127.0.0.1", 3000)) as server:
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],)).start()
"""


@pytest.mark.timeout(60)
def test_a_server_that_means_harm_and_clients_that_leave(daemon: Daemon, space: Inside) -> None:
    space.write("evil.py", EVIL)
    space.start("python3 evil.py")
    url = space.preview(3000)
    descriptors = Path(f"/proc/{daemon.pid}/fd")
    deadline = time.monotonic() + PATIENCE
    before = len(list(descriptors.iterdir()))
    for path in ("words", "lengths", "split", "heads", "soon", "switch"):
        assert status(f"{url}{path}") == 502, path
    for _ in range(20):
        with urllib.request.urlopen(f"{url}body", timeout=PATIENCE) as answer:
            assert len(answer.read(1_000_000)) == 1_000_000
        with socket.create_connection(("127.0.0.1", daemon.port)) as client:
            head = f"POST {url.removeprefix(daemon.url)}good HTTP/1.1\r\nHost: localhost\r\n"
            client.sendall(f"{head}Content-Length: 999999999\r\n\r\n".encode() + b"x" * 1_000_000)
    while len(list(descriptors.iterdir())) > before:
        assert time.monotonic() < deadline, "connections stay open"
        time.sleep(0.05)
    assert status(f"{url}good") == 200


@pytest.mark.timeout(60)
def test_only_the_space_s_own_ports_are_reached(daemon: Daemon, space: Inside) -> None:
    """What listens on the host's loopback is not there; the control reaches it from the host."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        server.accept()[0].close()
        space.write("site.py", SITE.replace("3000", str(daemon.port)))
        space.start("python3 site.py")
        own = space.preview(daemon.port)
        assert status(f"{own}healthz") == 404, "the space's own server, on the number of the daemon's port"
        assert status(f"{daemon.url}/healthz") == 200
        assert status(own.replace(f"/{daemon.port}/", f"/{port}/")) == 403
        server.settimeout(0.2)
        with pytest.raises(AssertionError), pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.e2e.previewing.PATIENCE", 0.5)
            space.preview(port)
        with pytest.raises(TimeoutError):
            server.accept()
