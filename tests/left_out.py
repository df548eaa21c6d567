"""Tests that need what not every host has."""

import os
from typing import NoReturn

import pytest


def left_out(reason: str) -> NoReturn:
    """Skip the test, which is told at the end of the run; in continuous integration (CI=true) fail instead."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"left out, and this is CI: {reason}")
    pytest.skip(reason)
