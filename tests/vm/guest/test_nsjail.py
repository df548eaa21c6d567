"""The second backend inside the service: under its system call filter, and in the boxes' control groups."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import service
from service import Client, sh


@pytest.fixture
def on_nsjail() -> Iterator[None]:
    """The service with that backend, by a drop-in that comes after the others'; stopped when the test is over."""
    start = f"/opt/runnerd/bin/runnerd serve --config {service.CONFIG} --auth open --backend nsjail"
    service.drop_in("zz-nsjail", f"[Service]\nExecStart=\nExecStart={start}\n")
    sh("systemctl start runnerd.service")
    yield
    sh("systemctl stop runnerd.service")
    service.remove_drop_in("zz-nsjail")


def test_it_runs_languages(on_nsjail: None) -> None:
    for language in service.get("/api/v1/languages")["languages"]:
        end, output = service.run(language["id"], language["sample"]["code"], language["sample"]["input"])
        assert (end["outcome"], end["code"]) == ("exited", 0), (end, output)


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
    sh("systemctl stop runnerd.service")
    assert not service.alive(started)
    assert not service.box_mounts()
