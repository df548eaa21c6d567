"""What is kept in the state folder, and by whom."""

import os
import stat
from pathlib import Path

import pytest

from runnerd.sandbox import host


def test_filters_are_kept_in_a_state_folder_of_ones_own(tmp_path: Path) -> None:
    cache = host._cache(tmp_path / "state")
    assert cache is not None
    assert cache == tmp_path / "state/cache"
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_nothing_is_left_in_another_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root can write into a service's, which could not use what root left there."""
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert host._cache(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_does_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert host._cache(tmp_path / "file/state") is None
