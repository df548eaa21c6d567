"""The real host: systemd and cgroup v2, in a machine that is booted once for all tests under guest/."""

import pytest

from tests.left_out import left_out
from tests.vm import lane

pytestmark = [pytest.mark.vm, pytest.mark.timeout(lane.SECONDS + 900)]


def test_the_service_on_a_real_host(capfd: pytest.CaptureFixture[str]) -> None:
    if reason := lane.lacking():
        left_out(f"no machine can be had here: {reason}")
    with capfd.disabled():
        assert lane.run() == 0
