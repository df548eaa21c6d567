"""Copies of a document, as Yjs's clients hold them, here by pycrdt."""

from collections import deque

import pycrdt

from runnerd.session.document import Document
from runnerd.session.editors import Changed
from runnerd.session.updates import ROOT


class Copy:
    """A member's. What was typed waits in `typed` until it is sent."""

    def __init__(self, client: int | None = None) -> None:
        self.doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=client)
        self.text = self.doc.get(ROOT, type=pycrdt.Text)
        self.typed: deque[bytes] = deque()
        self._hearing = False
        self.doc.observe(self._changed)

    def __str__(self) -> str:
        return str(self.text)

    def hear(self, update: bytes) -> None:
        self._hearing = True
        self.doc.apply_update(update)
        self._hearing = False

    def insert(self, at: int, text: str) -> None:
        """At a character."""
        self.text.insert(self._byte(at), text)

    def delete(self, at: int, count: int) -> None:
        del self.text[self._byte(at) : self._byte(at + count)]

    def _byte(self, at: int) -> int:
        return len(str(self)[:at].encode())

    def _changed(self, event: pycrdt.TransactionEvent) -> None:
        if not self._hearing:
            self.typed.append(event.update)


class Joined(Copy):
    """A copy that is joined to a document without a connection between them. `out` and `back` carry what waits."""

    def __init__(self, document: Document, client: int | None = None) -> None:
        super().__init__(client)
        self.document = document
        self.editor = document.join(100)
        self.hear(document.missing(self.doc.get_state()))

    def send(self, count: int = 1000) -> None:
        while self.typed and count:
            assert self.document.update(self.editor, self.typed.popleft())
            count -= 1

    async def take(self) -> None:
        """All that there is to hear."""
        self.editor.change(b"\0\0")  # or it might wait
        for news in await self.editor.next():
            if isinstance(news, Changed):
                self.hear(news.update)
