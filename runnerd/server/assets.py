"""The page's files, read once into memory: a request's path is looked up, never opened."""

import gzip
import hashlib
import mimetypes
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
TEXT = ("text/", "image/svg", "application/json")
WORTH_PACKING = 1024
HASHED = re.compile(r"-[\w-]{8,}\.\w+$")
"""Vite puts a hash of the content into these names, so that a name never gets other content."""


@dataclass(frozen=True)
class Asset:
    """`etag` includes its quotes."""

    content: bytes
    media_type: str
    etag: str
    immutable: bool

    @cached_property
    def packed(self) -> bytes | None:
        """The content by gzip, None where that saves nothing. Made when first asked for, which takes milliseconds: a
        start need not wait for it, and an event loop should ask in a thread."""
        worth = self.media_type.startswith(TEXT) and len(self.content) >= WORTH_PACKING
        return gzip.compress(self.content, 6, mtime=0) if worth else None


def load(folder: Path) -> dict[str, Asset]:
    """Assets by URL path; "/" is index.html. Empty when the page was not built."""
    if not (folder / "index.html").is_file():
        return {}
    assets = {"/" + path.relative_to(folder).as_posix(): _asset(path) for path in folder.rglob("*") if path.is_file()}
    assets["/"] = assets["/index.html"]
    return assets


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    media_type = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Asset(
        content=content,
        media_type=media_type,
        etag=f'"{hashlib.sha256(content).hexdigest()[:20]}"',
        immutable=HASHED.search(path.name) is not None,
    )
