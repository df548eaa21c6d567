"""What toolchains have prepared: made in a box, shown to boxes, and left aside when it no longer fits."""

import os
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from runnerd import toolchains
from runnerd.errors import BoxError, SetupError
from runnerd.sandbox import prepared as module
from runnerd.sandbox.host import Host
from runnerd.sandbox.prepare import prepare
from runnerd.sandbox.prepared import PLACE, Manifest, Prepared
from runnerd.sandbox.spec import Limits
from runnerd.toolchains import Toolchain

from .running import run

SCRIPT = (
    "echo /usr/bin/env > inputs; echo /usr/include >> inputs;"
    "mkdir -p prepared/a/b prepared/empty; echo text > prepared/a/b/file;"
    "printf '#!/bin/sh\\necho ran' > prepared/tool; chmod 755 prepared/tool; chmod 600 prepared/a/b/file"
)


def language(script: str = SCRIPT) -> Toolchain:
    return replace(toolchains.load().get("bash"), id="tried", prepare=("sh", "-c", script))


@pytest.fixture(autouse=True)
def looks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 0)


async def shown(host: Host, base: Path, toolchain: Toolchain, *argv: str) -> str:
    here = replace(host, prepared=Prepared(base))
    return (await run(here, *argv, spec=here.spec(Limits(), binds=here.binds(toolchain)))).stdout


async def test_made_in_a_box_and_shown_to_boxes_read_only(host: Host, tmp_path: Path) -> None:
    base, toolchain = tmp_path / "prepared", language()
    assert await shown(host, base, toolchain, "ls", PLACE) == ""
    assert await prepare(host, toolchain, base) == 23
    script = f"cd {PLACE}; ls; cat a/b/file; ./tool; touch new || echo refused; find . -perm /222 ! -type d"
    assert await shown(host, base, toolchain, "sh", "-c", script) == "a\nempty\ntool\ntext\nran\nrefused\n"


async def test_another_command_input_or_manifest_makes_it_stale(host: Host, tmp_path: Path) -> None:
    base, toolchain = tmp_path / "prepared", language()
    await prepare(host, toolchain, base)
    found = Prepared(base).find(toolchain)
    assert found is not None
    assert Prepared(base).find(language(SCRIPT + " ")) is None
    assert Prepared(base).find(replace(toolchain, id="tri")) is None
    path = found / "manifest.json"
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    assert set(manifest.inputs) == {"/usr/bin/env", "/usr/include"}
    size, mtime = manifest.inputs["/usr/bin/env"]
    for other in ((size + 1, mtime), (size, mtime + 1), (-1, 2)):
        inputs = {**manifest.inputs, "/usr/bin/env": other}
        path.write_bytes(msgspec.json.encode(Manifest(manifest.command, inputs)))
        assert Prepared(base).find(toolchain) is None
    path.write_bytes(b"{")
    assert Prepared(base).find(toolchain) is None


async def test_a_daemon_that_runs_takes_up_what_is_new_and_nothing_old_stays(host: Host, tmp_path: Path) -> None:
    base = tmp_path / "prepared"
    prepared = Prepared(base)
    assert prepared.binds(language()) == ()
    await prepare(host, language(), base)
    first = prepared.binds(language())
    assert first
    newer = language(SCRIPT + "; echo x > prepared/x")
    await prepare(host, newer, base)
    assert prepared.binds(language()) == ()
    assert prepared.binds(newer)
    assert len(os.listdir(base)) == 1


async def test_it_is_looked_at_once_in_a_while(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 3600)
    prepared = Prepared(tmp_path)
    assert prepared.find(language()) is None
    await prepare(host, language(), tmp_path)
    assert prepared.find(language()) is None
    assert Prepared(tmp_path).find(language()) is not None


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo no such compiler >&2; exit 1", "no such compiler"),
        ("echo > inputs; mkdir prepared; ln -s /etc/passwd prepared/x", "neither a file nor a folder"),
        ("mkdir prepared", "open inputs"),
        ("echo > inputs", "prepared"),
    ],
)
async def test_what_cannot_be_made_leaves_nothing(host: Host, tmp_path: Path, script: str, told: str) -> None:
    with pytest.raises(BoxError, match=told):
        await prepare(host, language(script), tmp_path)
    assert os.listdir(tmp_path) == []


async def test_a_folder_that_cannot_be_made_is_named(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match=str(tmp_path / "file")):
        await prepare(host, language(), tmp_path / "file" / "prepared")
