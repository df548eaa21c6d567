"""The second backend inside the service: under its system call filter, and in the boxes' control groups."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import service
from conftest import Configure
from service import Client, sh


@pytest.fixture
def on_nsjail(configure: Configure) -> Iterator[None]:
    """The service with that backend; stopped when the test is over."""
    configure('backend = "nsjail"\n')
    sh("systemctl start runnerd.service")
    yield
    sh("systemctl stop runnerd.service")


def test_all_languages_run_their_samples(on_nsjail: None) -> None:
    assert service.get("/api/v1/languages")["limits"] == "cgroup"
    service.run_samples()


def test_it_builds_the_boxes(on_nsjail: None) -> None:
    """Within the service's control group, and all of it goes when the service stops."""

    async def look(client: Client) -> None:
        await client.send("start", language="bash", code="echo here; read line")
        await client.says(b"here")
        started.update(service.processes())
        names.update(Path(f"/proc/{pid}/comm").read_text().strip() for pid, _ in started)

    started: set[tuple[int, str]] = set()
    names: set[str] = set()
    service.talk(look)
    assert {"nsjail", "init", "bash"} <= names
    assert "bwrap" not in names
    sh("systemctl stop runnerd.service")
    assert not service.alive(started)
    assert not service.box_mounts()
