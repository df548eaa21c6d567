"""Fixtures of the session tests."""

from .fake_box import world as world
