"""A host whose boxes are held by cgroup v2, in the tree that this process was given: delegated, ours alone."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from runnerd.config import Config
from runnerd.sandbox.cgroup import Tree
from runnerd.sandbox.host import Host, open_host


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Generator[Host]:
    """Instead of the one that other tests share."""
    with open_host(Config(), limits="cgroup", state_dir=tmp_path_factory.mktemp("state")) as host:
        yield host


@pytest.fixture
def tree(host: Host) -> Tree:
    assert host.tree is not None
    return host.tree


def leaves(tree: Tree) -> list[Path]:
    """The boxes' leaves that are there now."""
    return [tree.boxes / name for name in os.listdir(tree.boxes) if (tree.boxes / name).is_dir()]
