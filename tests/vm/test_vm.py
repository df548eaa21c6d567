"""The real host: systemd and cgroup v2, in a machine: once for the service, once for boxes alone."""

from collections.abc import Callable

import pytest

from tests.left_out import left_out
from tests.vm import lane

pytestmark = [pytest.mark.vm, pytest.mark.timeout(lane.SECONDS + 900)]


@pytest.mark.parametrize("tests", [lane.service, lane.boxes])
def test_on_a_real_host(tests: Callable[[], int], capfd: pytest.CaptureFixture[str]) -> None:
    if reason := lane.lacking():
        left_out(f"no machine can be had here: {reason}")
    with capfd.disabled():
        assert tests() == 0
