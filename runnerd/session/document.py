"""A text file that several edit at once: a CRDT document, which its file takes part in like one more member.

The file is a replica of its own, as of when it was last saved. When somebody else has changed the file since, that is
an edit of this replica, and merges with what members typed meanwhile as any two edits merge.
"""

import secrets
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import pycrdt

from runnerd.errors import BadRequest, Busy, RunnerdError, TooLarge
from runnerd.session.cursors import Cursors
from runnerd.session.editors import OVERHEAD, Editor
from runnerd.session.merging import Edit, edits
from runnerd.session.updates import ROOT, Shape, clocks_of, shape_of

HISTORY_MAX = 4 * 1024 * 1024
"""Bytes of a document with what is left of its history."""

PARTS_MAX = 30_000
"""Structs and deleted ranges of a document. A long paper typed by one person comes to half of that."""

PRODUCT_MAX = 10_000_000
"""Parts of an update times parts of its document. Those that claim to be of one place are compared with each other, and
so much takes half a second."""

CLIENTS_MAX = 4096
"""Yjs clients that have ever typed in a document: one for each page that was loaded."""

OURS = 2**53 - 2**32
"""The file's client ids are from here on, so that a copy of a document that was closed since can be told."""


class OpenedAnew(RunnerdError):
    """The client's copy is of a document that was closed since: merged, it would be there twice."""

    code, status, close = "opened_anew", 409, 4409


class Malformed(BadRequest):
    """The library refused an update."""


class Document:
    """`text` is what its file holds; `typed` is called when members change it.

    Errors of the library end with who provoked them: Malformed, and the document is as it was before.
    """

    def __init__(self, text: str, typed: Callable[[], None]) -> None:
        self._typed = typed
        self.editors: list[Editor] = []
        self.cursors = Cursors()
        self.closed: RunnerdError | None = None
        self._known: dict[int, int] = {}
        self._history: list[bytes] = []
        self._size = self._compacted = self._parts = 0
        self._live = _new()
        self._file = _new(OURS + secrets.randbelow(2**32))
        # A mark, even of an empty file: who has a copy of this document has this.
        self._edit_file([Edit(0, 0, text + ".")])
        self._edit_file([Edit(len(text.encode()), 1, "")])

    @property
    def text(self) -> str:
        """As members see it."""
        return str(_text(self._live))

    def join(self, most: int) -> Editor:
        """`leave` must follow. Raises Busy when `most` have it open, and why it was closed."""
        if self.closed is not None:
            raise self.closed
        if len(self.editors) >= most:
            raise Busy(f"{most} have this file open", retry_after=10, hint="one must leave first")
        editor = Editor(self)
        self.editors.append(editor)
        return editor

    def leave(self, editor: Editor) -> None:
        self.editors.remove(editor)
        self._show(self.cursors.leave(editor))

    def close(self, reason: RunnerdError) -> None:
        """Send all away. Whoever comes later is told as well."""
        self.closed = self.closed or reason
        for editor in self.editors:
            editor.close(reason)

    # --- what members do -------------------------------------------------------------------------------------------

    def state(self) -> bytes:
        """What is here, as a state vector."""
        with self._guarded():
            return self._live.get_state()

    def missing(self, vector: bytes) -> bytes:
        """An update of all that who is at this state lacks. Raises BadRequest, OpenedAnew."""
        clocks = clocks_of(vector)
        if any(client >= OURS and client not in self._known for client in clocks):
            raise OpenedAnew("this copy is of a document that was closed since", hint="open it anew: a new Y.Doc")
        with self._guarded():
            return self._live.get_update(vector)

    def whole(self) -> bytes:
        """An update of all that there is."""
        with self._guarded():
            return self._live.get_update()

    def update(self, editor: Editor, update: bytes) -> bool:
        """Take a change, and tell the others. False when there is a gap before it: then it is not taken.

        Raises BadRequest, TooLarge; OpenedAnew when the document is full, which all are told.
        """
        shape = shape_of(update)
        if not shape.weight:
            return True
        if not shape.fits(self._known):
            return False
        if any(client >= OURS and end > self._known.get(client, 0) for client, (_, end) in shape.ranges.items()):
            raise BadRequest("an update is in the name of the file")
        if shape.weight * self._parts > PRODUCT_MAX and shape.weight > 1:
            raise TooLarge(f"an update has {shape.weight} parts, and the document {self._parts}")
        clients = len(self._known) + sum(client not in self._known for client in shape.ranges)
        if clients > CLIENTS_MAX or self._is_full(len(update), shape.weight):
            reason = OpenedAnew("the document's history is full", hint="it is saved; open it anew: a new Y.Doc")
            self.close(reason)
            self._typed()  # the last time it is saved
            raise reason
        self._apply(update, shape, editor)
        self._typed()
        return True

    def show(self, editor: Editor, client: int, state: str) -> None:
        """A client shows itself, or ("null") is gone. Raises BadRequest, TooLarge."""
        if self.cursors.show(editor, client, state):
            self._show([client], editor)

    # --- what the file does ----------------------------------------------------------------------------------------

    def changed(self, text: str) -> None:
        """The file holds this now. Raises Malformed."""
        if found := edits(str(_text(self._file)), text):
            self._edit_file(found)

    def unsaved(self) -> tuple[str, bytes]:
        """What the file must hold, and what `saved` takes once it does."""
        with self._guarded():
            return self.text, self._live.get_update(self._file.get_state())

    def saved(self, update: bytes) -> None:
        """The file has all edits up to `update`. Raises Malformed."""
        with _contained():
            self._file.apply_update(update)

    # --- inner workings --------------------------------------------------------------------------------------------

    def _edit_file(self, found: Sequence[Edit]) -> None:
        with _contained(), _watched(self._file) as updates, self._file.transaction():
            text = _text(self._file)
            for edit in found:
                del text[edit.at : edit.at + edit.remove]
                text.insert(edit.at, edit.insert)
        for update in updates:
            self._apply(update, shape_of(update, sys.maxsize))

    def _apply(self, update: bytes, shape: Shape, source: Editor | None = None) -> None:
        ends = {client: max(end, self._known.get(client, 0)) for client, (_, end) in shape.ranges.items()}
        with self._guarded(), _watched(self._live) as changes:
            self._live.apply_update(update)
            if len(ends) > 1 and clocks_of(self._live.get_state()) != self._known | ends:
                raise ValueError("its parts wait for each other")
        self._known |= ends
        self._parts += shape.weight
        for change in changes:
            self._history.append(change)
            self._size += len(change) + OVERHEAD
            for editor in self.editors:
                if editor is not source:
                    editor.change(change)
        if self._size > 2 * self._compacted + 2**16:
            self._compact()

    def _is_full(self, size: int, parts: int) -> bool:
        if self._parts + parts > PARTS_MAX:
            self._compact()
            if self._parts + parts > PARTS_MAX * 0.9:  # or it would be compacted again soon, and again
                return True
        return self._size + size > HISTORY_MAX

    def _compact(self) -> None:
        with self._guarded():
            whole = self._live.get_update()
        self._history = [whole]
        self._size = self._compacted = len(whole)
        self._parts = shape_of(whole, sys.maxsize).weight

    @contextmanager
    def _guarded(self) -> Generator[None]:
        """What goes wrong inside leaves the document as it was: it is made again of its history."""
        try:
            with _contained():
                yield
        except Malformed:
            self._live = _new()
            for update in self._history:
                self._live.apply_update(update)
            raise

    def _show(self, clients: Sequence[int], but: Editor | None = None) -> None:
        for editor in self.editors:
            if editor is not but:
                editor.show(clients)


def _new(client: int | None = None) -> "pycrdt.Doc[pycrdt.Text]":
    return pycrdt.Doc(client_id=client)


def _text(document: "pycrdt.Doc[pycrdt.Text]") -> pycrdt.Text:
    return document.get(ROOT, type=pycrdt.Text)


@contextmanager
def _watched(document: "pycrdt.Doc[pycrdt.Text]") -> Generator[list[bytes]]:
    """What changes inside, as updates."""
    updates: list[bytes] = []
    watch = document.observe(lambda event: updates.append(event.update))
    try:
        yield updates
    finally:
        document.unobserve(watch)


@contextmanager
def _contained() -> Generator[None]:
    """Errors of the library are Malformed; and so are its panics, which are no Exception and have no name in Python."""
    try:
        yield
    except BaseException as problem:
        if not isinstance(problem, Exception) and type(problem).__name__ != "PanicException":
            raise
        raise Malformed("this is no update of the document") from problem
