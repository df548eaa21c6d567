"""Paths and trees of files in messages, checked. Pure: whether they can be is the box's to say."""

from typing import Any, cast

from runnerd.errors import BadRequest, TooLarge
from runnerd.protocols.fields import PATH_MAX, Fields, shown

NAME_MAX = 255
"""Bytes of one name in a folder."""

ITEMS_MAX = 20_000
"""Files and folders of one project."""


def tree_path(path: str, *, whole: bool = False) -> str:
    """A path below the work tree, without "." and doubled or closing slashes; with `whole` also "", the tree itself.

    Raises BadRequest for an absolute path, "..", a NUL, a name or path that is too long.
    """
    if path.startswith("/"):
        raise BadRequest(f"the path {path[:80]!r} is absolute", hint="paths are relative to the work tree")
    names = [name for name in path.split("/") if name not in ("", ".")]
    if not names and not whole:
        raise BadRequest(f"the path {path[:80]!r} names nothing", hint="a path below the work tree, as project/main.py")
    for name in names:
        base_name(name, "path")
    clean = "/".join(names)
    if len(clean.encode()) > PATH_MAX:
        raise BadRequest(f"the path {path[:80]!r}... is longer than {PATH_MAX} bytes")
    return clean


def base_name(name: str, field: str) -> str:
    """One name in a folder. Raises BadRequest."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        hint = "a name without slash and NUL, and neither . nor .."
        raise BadRequest(f"{field} holds the name {name[:80]!r}", hint=hint)
    if len(name.encode()) > NAME_MAX:
        raise BadRequest(f"{field} holds the name {name[:80]!r}...", hint=f"a name has at most {NAME_MAX} bytes")
    return name


def structure(fields: Fields) -> tuple[tuple[str, ...], dict[str, bytes]]:
    """`file_structure`, JSON as text or as it is: (folders, parents first; files). Raises BadRequest, TooLarge.

    {"name", "type": "folder", "children": [...]} or {"name", "type": "file", "content"}.
    """
    name = "file_structure"
    root = Fields.decode(fields.text(name)) if fields.is_text(name) else fields.inner(name)
    folders: list[str] = []
    files: dict[str, bytes] = {}
    waiting = [("", root)]
    while waiting:
        parent, node = waiting.pop()
        path = tree_path(f"{parent}/{base_name(node.text('name'), name)}".lstrip("/"))
        if len(folders) + len(files) >= ITEMS_MAX:
            raise TooLarge(f"file_structure holds more than {ITEMS_MAX} files and folders")
        match node.text("type", allowed="file or folder"):
            case "folder":
                folders.append(path)
                waiting += [(path, child) for child in reversed(_children(node, path))]
            case "file":
                files[path] = node.content("content") if "content" in node else b""
            case other:
                raise BadRequest(f"the type of {path[:80]!r} is {other[:20]!r}", hint="type: file or folder")
    return tuple(folders), files


def _children(node: Fields, path: str) -> list[Fields]:
    found: list[Fields] = []
    for child in node.items("children"):
        if not isinstance(child, dict):
            raise BadRequest(f"the folder {path[:80]!r} holds {shown(child)}", hint="children: a list of objects")
        found.append(Fields(cast(dict[str, Any], child)))
    return found
