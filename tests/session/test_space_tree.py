"""File work in a real box against a model of the tree: whatever members ask in whatever order, the two never differ."""

import stat

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runnerd.errors import BadRequest, InitRefused, RunnerdError
from runnerd.sandbox.host import Host
from runnerd.session.workspace import Workspace

from .spaces import opened

Tree = dict[str, bytes | None]
"""Content by path; None is a folder."""

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
DATA = st.binary(max_size=4)
STEPS = st.one_of(
    st.tuples(st.just("write"), PATHS, DATA),
    st.tuples(st.just("create"), PATHS, st.booleans()),
    st.tuples(st.just("rename"), PATHS, NAMES),
    st.tuples(st.just("delete"), PATHS, st.none()),
    st.tuples(st.just("project"), PATHS, DATA),
)


def parents(path: str) -> list[str]:
    names = path.split("/")[:-1]
    return ["/".join(names[: end + 1]) for end in range(len(names))]


class Refused(Exception):
    """The model's word for what cannot be done."""


def put(tree: Tree, path: str, data: bytes | None) -> None:
    """Make a file or folder, and its parents, which stay when the last step fails."""
    for parent in parents(path):
        if tree.setdefault(parent, None) is not None:
            raise Refused
    if path in tree and (tree[path] is None) != (data is None):
        raise Refused
    tree[path] = data


def moved(tree: Tree, old: str, new: str) -> Tree:
    inside = f"{old}/"
    return {
        new + path.removeprefix(old) if path == old or path.startswith(inside) else path: data
        for path, data in tree.items()
    }


def model(tree: Tree, step: str, path: str, more: object) -> Tree:
    """The tree afterwards. Raises Refused, maybe with parents made."""
    match step, more:
        case (("write" | "project"), bytes()):
            put(tree, path, more)
        case "create", bool():
            if path in tree:
                raise Refused
            put(tree, path, None if more else b"")
        case "rename", str():
            new = "/".join([*path.split("/")[:-1], more])
            if new == path:
                return tree
            if path not in tree or new in tree:
                raise Refused
            return moved(tree, path, new)
        case _:
            if path not in tree:
                raise Refused
            return {each: data for each, data in tree.items() if each != path and not each.startswith(f"{path}/")}
    return tree


async def act(files: Workspace, step: str, path: str, more: object) -> None:
    told: list[RunnerdError | None] = []
    match step, more:
        case "write", bytes():
            files.write(path, b"an older text", told.append)
            files.write(path, more, told.append)
            await files.settled()
            (problem,) = told
            if problem is not None:
                raise problem
        case "project", bytes():
            await files.project((), {path: more})
        case "create", bool():
            await files.create(path, folder=more)
        case "rename", str():
            await files.rename(path, more)
        case _:
            await files.delete(path)


async def whole(files: Workspace, folder: str = "") -> Tree:
    tree: Tree = {}
    entries, _ = await files.list(folder)
    for entry in entries:
        path = f"{folder}/{entry.name}".lstrip("/")
        if stat.S_ISDIR(entry.mode):
            tree[path] = None
            tree |= await whole(files, path)
        else:
            tree[path] = await files.read(path)
    return tree


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=25))
async def test_the_tree_is_the_models(host: Host, steps: list[tuple[str, str, object]]) -> None:
    async with opened(host) as space:
        tree: Tree = {}
        for step, path, more in steps:
            refused = failed = False
            try:
                tree = model(tree, step, path, more)
            except Refused:
                refused = True
            try:
                await act(space.files, step, path, more)
            except (InitRefused, BadRequest):
                failed = True
            assert failed == refused, (step, path, more)
            assert await whole(space.files) == tree, (step, path, more)
