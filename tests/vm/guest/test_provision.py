"""What the Vagrantfile runs in its machine, and that others reach the port then."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import service
from service import sh

PAGE = "import urllib.request as r; print(r.urlopen('http://10.99.0.1:8080/').read().decode())"
OURS = ("/vagrant", "/etc/systemd/system/runnerd.socket.d")


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """A network namespace that reaches this machine as another host does."""
    sh("ip netns add elsewhere && ip link add toward type veth peer name there netns elsewhere")
    sh("ip addr add 10.99.0.1/24 dev toward && ip link set toward up")
    sh("ip -n elsewhere addr add 10.99.0.2/24 dev there && ip -n elsewhere link set there up")
    yield "ip netns exec elsewhere"
    sh("ip netns delete elsewhere")


@pytest.fixture
def as_before() -> Iterator[None]:
    """The configuration and the drop-in of the other tests come back."""
    service.remove_drop_in("open")
    kept = service.CONFIG.rename("/root/runnerd.toml")
    yield
    sh("systemctl disable --now runnerd.socket runnerd.service && systemctl enable runnerd.service")
    shutil.rmtree(OURS[1])
    Path(OURS[0]).unlink()
    kept.rename(service.CONFIG)
    service.allow_everybody()


def test_the_provision_step_serves_the_page_to_the_host_outside(elsewhere: str, as_before: None) -> None:
    found = re.search(r"<<~SHELL\n(.*?)\n *SHELL", (service.REPO / "Vagrantfile").read_text(), re.DOTALL)
    assert found is not None
    step = found[1].replace("scripts/install", f"scripts/install --wheels {service.WHEELS}")  # there is no network
    assert step != found[1]
    Path(OURS[0]).symlink_to(service.REPO)
    sh(step)
    assert "<title>runnerd</title>" in sh(f'{elsewhere} python3 -c "{PAGE}"')
    assert service.show("ActiveState") == "active"
