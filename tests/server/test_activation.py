"""Passed sockets, in a process of their own: the numbers of descriptors are part of the protocol."""

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from runnerd.errors import SetupError
from runnerd.server import activation
from runnerd.server.address import TcpAddress, UnixAddress

RUNNERD = Path(sys.executable).with_name("runnerd")

SHOW = """
import os, sys
from runnerd.errors import SetupError
from runnerd.server import activation
if sys.argv[1:] != ["other"]:
    os.environ["LISTEN_PID"] = str(os.getpid())
try:
    sockets = activation.inherited()
except SetupError as problem:
    print(problem.message)
else:
    print(*map(activation.address_of, sockets), [os.get_inheritable(each.fileno()) for each in sockets])
    print([name for name in os.environ if name.startswith("LISTEN_")], activation.inherited())
"""


def passed(*sockets: socket.socket, words: tuple[str, ...] = ()) -> list[str]:
    """What a process sees that is started with these sockets as descriptors 3 and on."""
    # Out of the way of the numbers that the shell gives them.
    high = [fcntl.fcntl(each, fcntl.F_DUPFD, 100) for each in sockets]
    moves = " ".join(f"{3 + number}<&{descriptor} {descriptor}<&-" for number, descriptor in enumerate(high))
    try:
        done = subprocess.run(
            ["bash", "-c", f'exec "$@" {moves}', "bash", sys.executable, "-c", SHOW, *words],
            env={**os.environ, "LISTEN_FDS": str(len(sockets)), "LISTEN_PID": "1", "LISTEN_FDNAMES": "a:b"},
            pass_fds=high,
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        for descriptor in high:
            os.close(descriptor)
    return done.stdout.splitlines()


def test_sockets_are_taken_over_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "s"))
        unix.listen()
        port = tcp.getsockname()[1]
        assert passed(tcp, unix) == [f"127.0.0.1:{port} unix:{tmp_path}/s [False, False]", "[] []"]


def served(listening: socket.socket, *words: str | Path) -> tuple[str, int]:
    """What `runnerd serve` says that is started with this socket as descriptor 3, and its exit status. It is stopped
    as soon as it listens."""
    high = fcntl.fcntl(listening, fcntl.F_DUPFD, 100)
    start = f'export LISTEN_PID=$$; exec "$@" 3<&{high} {high}<&-'
    with subprocess.Popen(
        ["bash", "-c", start, "bash", RUNNERD, "serve", "--limits", "best-effort", *words],
        env={**os.environ, "LISTEN_FDS": "1"},
        pass_fds=[high],
        stderr=subprocess.PIPE,
        text=True,
    ) as daemon:
        os.close(high)
        assert daemon.stderr is not None
        said = ""
        for line in daemon.stderr:
            said += line
            if "listening on" in line:
                daemon.terminate()
        return said, daemon.wait()


def test_an_open_daemon_is_refused_by_where_the_passed_socket_listens(tmp_path: Path) -> None:
    """Whatever `listen` says."""
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        said, status = served(everywhere, "--auth", "open", "--state-dir", tmp_path)
        assert f"others can connect to 0.0.0.0:{everywhere.getsockname()[1]}" in said
        assert status == 2
    with socket.create_server(("127.0.0.1", 0)) as here:
        said, status = served(here, "--auth", "open", "--state-dir", tmp_path, "--listen", "0.0.0.0:8080")
        assert f"listening on http://127.0.0.1:{here.getsockname()[1]}" in said
        assert status == 0


def test_what_was_meant_for_another_process_is_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        assert passed(tcp, words=("other",)) == ["[]", "[] []"]


def test_what_does_not_listen_is_refused() -> None:
    with socket.socket() as idle:
        assert passed(idle) == ["descriptor 3 from the service manager is not a listening stream socket"]


def test_a_missing_descriptor_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation, "FIRST", 1_000_000)
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    with pytest.raises(SetupError, match=r"taking over descriptor 1000000 .*Bad file descriptor"):
        activation.inherited()


def test_addresses_are_found_out(tmp_path: Path) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "s"))
        assert activation.address_of(tcp) == TcpAddress("::1", tcp.getsockname()[1])
        assert activation.address_of(unix) == UnixAddress(tmp_path / "s")
