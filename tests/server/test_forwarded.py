import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnerd.config import parse
from runnerd.errors import ConfigError
from runnerd.server.forwarded import Proxies, canonical, subnet

PROXIES = Proxies(["10.0.0.0/8", "::1", "unix"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),  # not a proxy: its word does not count
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("unix", ["198.51.100.7"], "198.51.100.7"),
        ("::1", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.7"], "198.51.100.7"),  # the client said 1.1.1.1
        ("10.0.0.1", ["198.51.100.7", "10.2.3.4"], "198.51.100.7"),  # two proxies
        ("10.0.0.1", ["1.1.1.1", "198.51.100.7", "10.2.3.4"], "198.51.100.7"),
        ("10.0.0.1", ["10.5.5.5", "10.2.3.4"], "10.5.5.5"),  # a client within the trusted network
        ("10.0.0.1", ["198.51.100.7", "nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7", ""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7", "unix"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7:4711"], "198.51.100.7"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ['"[2001:db8::1]"'], "2001:db8::1"),
        ("10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7", "::ffff:10.1.1.1"], "198.51.100.7"),
        ("", ["198.51.100.7"], ""),
    ],
)
def test_whose_address_counts(peer: str, forwarded: list[str], client: str) -> None:
    assert PROXIES.client(peer, forwarded) == client


def test_by_default_nobody_is_believed() -> None:
    for peer in ("127.0.0.1", "::1", "10.0.0.1", "unix", ""):
        assert not Proxies(()).trusts(peer)
        assert Proxies(()).client(peer, ["198.51.100.7"]) == peer


@given(st.lists(st.text(max_size=30), max_size=5))
def test_what_a_client_sends_never_counts_behind_an_honest_proxy(lies: list[str]) -> None:
    """The proxy adds whom it saw on the right."""
    assert PROXIES.client("10.0.0.1", [*lies, "198.51.100.7"]) == "198.51.100.7"


def test_addresses_of_one_subnet_count_together() -> None:
    assert subnet("2001:db8::1") == subnet("2001:db8::ffff:ffff:ffff:ffff") == "2001:db8::/64"
    assert subnet("2001:db8:0:1::1") != subnet("2001:db8::1")
    assert subnet("192.0.2.1") == subnet("::ffff:192.0.2.1") == "192.0.2.1"
    assert subnet("unix") == "unix"


def test_one_address_has_one_spelling() -> None:
    assert canonical("::ffff:192.0.2.1") == "192.0.2.1"
    assert canonical("fe80:0::1%eth0") == "fe80::1"
    assert canonical("unix") == "unix"


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "nonsense", "", "unix:/x"])
def test_what_is_no_network_is_named(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"http\.trusted_proxies holds"):
        parse({"http": {"trusted_proxies": [wrong]}})
    parse({"http": {"trusted_proxies": ["10.0.0.0/8", "unix"]}})
