import pytest

from tests.left_out import left_out


def test_what_is_left_out_is_skipped_and_in_ci_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "false")
    with pytest.raises(pytest.skip.Exception, match="no such thing here"):
        left_out("no such thing here")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no such thing here"):
        left_out("no such thing here")
