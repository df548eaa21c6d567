import subprocess
import sys
from pathlib import Path

import pytest

from runnerd.errors import SetupError
from runnerd.sandbox.uids import Uids


def test_each_uid_is_taken_once(tmp_path: Path) -> None:
    uids = Uids(1000, 1003, tmp_path / "lock")
    takes = [uids.take() for _ in range(4)]
    assert sorted(take.__enter__() for take in takes) == [1000, 1001, 1002, 1003]
    with pytest.raises(SetupError, match="all 4 uids"), uids.take():
        pass
    takes[2].__exit__(None, None, None)
    with uids.take() as again:
        assert 1000 <= again <= 1003


def test_uids_go_round_before_one_comes_back(tmp_path: Path) -> None:
    uids = Uids(1000, 1009, tmp_path / "lock")
    seen: list[int] = []
    for _ in range(10):
        with uids.take() as uid:
            seen.append(uid)
    assert len(set(seen)) == 10


def test_another_process_takes_other_uids(tmp_path: Path) -> None:
    """And its death gives them back."""
    lock = tmp_path / "lock"
    uids = Uids(1000, 1001, lock)
    script = (
        "import sys; from pathlib import Path; from runnerd.sandbox.uids import Uids\n"
        "take = Uids(1000, 1001, Path(sys.argv[1])).take(); print(take.__enter__(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        with uids.take() as ours:
            assert {ours, theirs} == {1000, 1001}
            with pytest.raises(SetupError), uids.take():
                pass
        other.kill()
        other.wait()
        with uids.take() as one, uids.take() as two:
            assert {one, two} == {1000, 1001}
