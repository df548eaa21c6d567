"""The slow link is slow one way, and nothing of it stays."""

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from runnerd.bench.link import SERVER, inside, link

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

RATE, SENT = 100_000, 40_000


def namespace() -> str:
    return os.readlink("/proc/thread-self/ns/net")


def crossing(back: bool) -> float:
    """Seconds that so many bytes take from the server to the client, or back."""
    with link(RATE, 8192) as ends:
        with inside(ends.server):
            listener = socket.create_server((SERVER, 0))
        with inside(ends.client):
            client = socket.create_connection(listener.getsockname(), timeout=30)
        server, _ = listener.accept()
        with listener, client, server:
            sender, receiver = (client, server) if back else (server, client)
            began = time.perf_counter()
            thread = threading.Thread(target=sender.sendall, args=(bytes(SENT),))
            thread.start()
            left = SENT
            while left:
                left -= len(receiver.recv(left))
            thread.join()
            return time.perf_counter() - began


def test_what_the_server_sends_is_slow() -> None:
    # At most a burst of 4 KiB goes at once.
    assert crossing(back=False) > (SENT - 4096) / RATE * 0.9


def test_what_the_client_sends_is_not() -> None:
    """The control: the same bytes, where no queue holds them."""
    assert crossing(back=True) < SENT / RATE / 2


def test_this_thread_is_at_home_again() -> None:
    before, interfaces = namespace(), Path("/proc/net/dev").read_text().count(":")
    with link(RATE, 8192) as ends:
        with pytest.raises(ZeroDivisionError), inside(ends.client):
            assert namespace() != before
            raise ZeroDivisionError
        assert namespace() == before
    assert Path("/proc/net/dev").read_text().count(":") == interfaces
