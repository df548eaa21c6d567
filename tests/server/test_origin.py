import pytest

from runnerd.server.head import Head
from runnerd.server.origin import ForeignHost, ForeignOrigin, Gate


def head(**headers: str) -> Head:
    return Head("GET", "/", "1.1", tuple(headers.items()))


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080", "[::1]", "localhost."]
)
def test_a_loopback_listener_answers_to_names_of_loopback(host: str) -> None:
    Gate(loopback=True).check_host(head(host=host))


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "", "[", "a@[::1"]
)
def test_a_loopback_listener_refuses_other_names(host: str) -> None:
    with pytest.raises(ForeignHost):
        Gate(loopback=True).check_host(head(host=host))
    Gate(loopback=False).check_host(head(host=host))


def test_names_of_a_proxy_are_configured() -> None:
    Gate(hosts=("code.example",), loopback=True).check_host(head(host="code.example:443"))
    Gate(hosts=("*",), loopback=True).check_host(head(host="anything"))
    with pytest.raises(ForeignHost, match="other"):
        Gate(hosts=("code.example",), loopback=True).check_host(head(host="other.example"))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:8080", "localhost:8080"),
        ("https://code.example", "code.example"),
        ("https://code.example", "code.example:443"),
        ("https://code.example:443", "code.example"),
        ("http://CODE.example", "code.EXAMPLE:80"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_pages_of_the_daemon_itself_may_connect(origin: str, host: str) -> None:
    Gate(loopback=False).check_origin(head(origin=origin, host=host))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "code.example"),
        ("http://localhost:9999", "localhost:8080"),
        ("http://localhost", "localhost:8080"),
        ("null", "code.example"),
        ("null", ""),
        ("", ""),
        ("https://code.example.evil.example", "code.example"),
        ("https://code.example@evil.example", "code.example"),
        ("http://[", "["),
        ("file://", ""),
    ],
)
def test_pages_of_others_may_not(origin: str, host: str) -> None:
    with pytest.raises(ForeignOrigin):
        Gate(loopback=False).check_origin(head(origin=origin, host=host))
    Gate(("*",), loopback=False).check_origin(head(origin=origin, host=host))


def test_other_origins_are_configured_with_their_scheme() -> None:
    gate = Gate(("https://course.example",), loopback=True)
    gate.check_origin(head(origin="https://course.example", host="localhost"))
    for foreign in ("http://course.example", "https://course.example:8443"):
        with pytest.raises(ForeignOrigin):
            gate.check_origin(head(origin=foreign, host="localhost"))


def test_clients_that_are_no_browsers_send_no_origin() -> None:
    Gate(loopback=True).check_origin(head(host="localhost"))
