"""When the host counts as short of something, by files as the kernel writes them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runnerd.sandbox import pressure
from runnerd.sandbox.pressure import FRESH, Pressure, Source, at_ceiling, sources


def text(some: float) -> str:
    return f"some avg10={some:.2f} avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"


@pytest.fixture
def tree(tmp_path: Path) -> Any:
    for name in ("daemon", "boxes"):
        (tmp_path / name).mkdir()
        for what in ("memory", "cpu"):
            (tmp_path / name / f"{what}.pressure").write_text(text(0))
    (tmp_path / "boxes/memory.high").write_text("1000\n")
    (tmp_path / "boxes/memory.current").write_text("500\n")
    return SimpleNamespace(daemon=tmp_path / "daemon", boxes=tmp_path / "boxes")


def found(tree: Any, memory: float = 10, cpu: float = 20) -> str:
    return Pressure(sources(tree, memory, cpu))()


def test_a_quiet_host(tree: Any) -> None:
    assert found(tree) == ""


def test_the_daemon_waits_for_memory(tree: Any) -> None:
    (tree.daemon / "memory.pressure").write_text(text(10))
    assert found(tree) == "the host is short of memory (10 % of the time something waits for it)"
    assert found(tree, memory=10.1) == found(tree, memory=0) == ""


def test_the_daemon_waits_for_a_cpu(tree: Any) -> None:
    (tree.daemon / "cpu.pressure").write_text(text(33.3))
    assert "CPU time (33 %" in found(tree)
    assert found(tree, cpu=0) == ""


def test_boxes_that_wait_for_memory_count_only_at_their_common_ceiling(tree: Any) -> None:
    (tree.boxes / "memory.pressure").write_text(text(90))
    assert found(tree) == ""
    (tree.boxes / "memory.current").write_text("990\n")
    assert "memory (90 %" in found(tree)


def test_boxes_that_wait_for_a_cpu_do_not_count(tree: Any) -> None:
    (tree.boxes / "cpu.pressure").write_text(text(100))
    assert found(tree) == ""


def test_no_ceiling_is_never_reached(tree: Any, tmp_path: Path) -> None:
    (tree.boxes / "memory.high").write_text("max\n")
    assert not at_ceiling(tree.boxes)
    assert not at_ceiling(tmp_path / "nosuch")


def test_a_kernel_without_pressure(tree: Any) -> None:
    for file in tree.daemon.iterdir():
        file.unlink()
    (tree.boxes / "memory.pressure").write_text("")
    assert found(tree) == ""


def test_without_a_tree_the_whole_hosts_memory_is_looked_at() -> None:
    [source] = sources(None, 10, 20)
    assert (source.what, source.file) == ("memory", Path("/proc/pressure/memory"))
    assert sources(None, 0, 20) == []


def test_a_look_is_good_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(pressure, "time", SimpleNamespace(monotonic=lambda: now))
    (tmp_path / "memory").write_text(text(50))
    pressed = Pressure([Source("memory", tmp_path / "memory", 10, lambda: True)])
    assert pressed()
    (tmp_path / "memory").write_text(text(0))
    assert pressed()
    now += FRESH
    assert not pressed()
