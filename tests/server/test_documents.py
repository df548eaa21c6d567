"""Documents through a real listener, around spaces whose boxes are fakes: what each connection is told, and by what it
ends."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from server_fakes import Served, until
from test_spaces import Member, member, serving
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from runnerd.protocols.documents import Cursor, Cursors, Message, Query, State, Update, decode, encode
from runnerd.server import documents as module
from runnerd.session import documents
from runnerd.session.documents import DOCUMENTS_MAX, SAVE_AFTER, TEXT_MAX
from tests.session.copies import Copy


class Editor(Copy):
    """One connection, and its copy."""

    def __init__(self, connection: WebSocketConnection, client: int | None = None) -> None:
        super().__init__(client)
        self.connection = connection
        self.cursors: dict[int, dict[str, Any] | None] = {}

    async def say(self, message: Message | bytes) -> None:
        await self.connection.send_message(message if isinstance(message, bytes) else encode(message))

    async def hear(self) -> Message:  # type: ignore[override]
        """The next message, after doing what it asks for."""
        data = await self.connection.get_message()
        message = decode(data)
        match message:
            case State(vector):
                await self.say(Update(self.doc.get_update(vector), answer=True))
            case Update(update):
                super().hear(update)
            case Cursors(cursors):
                for each in cursors:
                    self.cursors[each.client] = json.loads(each.state)
            case _:
                raise AssertionError(data)
        return message

    async def sync(self) -> None:
        """As a client begins; and a way to know that all that was sent before is done."""
        await self.say(State(self.doc.get_state()))
        while not isinstance(message := await self.hear(), Update) or not message.answer:
            pass

    async def send(self) -> None:
        while self.typed:
            await self.say(Update(self.typed.popleft()))

    async def until(self, text: str) -> None:
        while str(self) != text:
            await self.hear()

    async def closed(self) -> tuple[int, str]:
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                await self.connection.get_message()
        assert caught.value.reason is not None
        return caught.value.reason.code, caught.value.reason.reason or ""


@asynccontextmanager
async def editor(served: Served, join: str, path: str = "main.py", client: int | None = None) -> AsyncIterator[Editor]:
    url = f"ws://127.0.0.1:{served.port}/ws/documents/{join}/{path}"
    async with open_websocket_url(url, message_queue_size=1000) as connection:
        try:
            yield Editor(connection, client)
        finally:
            await connection._stream.aclose()


@asynccontextmanager
async def opened(tmp_path: Path, files: dict[str, bytes], **settings: Any) -> AsyncIterator[tuple[Served, Member, str]]:
    """A daemon, the host of a space with these files, and the join key."""
    async with serving(tmp_path, **settings) as served, member(served) as host:
        join = (await host.ask("init"))["join"]
        served.registry.boxes[0].files |= files
        yield served, host, join


async def content(host: Member, path: str = "main.py") -> str:
    await host.cmd("read", path=path)
    while (message := await host.hear())["type"] != "file":
        pass
    return message["content"]


async def test_two_edit_and_a_read_right_after_sees_it(tmp_path: Path) -> None:
    async with opened(tmp_path, {"src/a b.py": b"one\n"}) as (served, host, join):
        path = "src/a%20b.py"
        async with editor(served, join, path) as ada, editor(served, join, path) as bob:
            await ada.sync()
            await bob.sync()
            assert str(ada) == str(bob) == "one\n"
            ada.insert(0, "zero\n")
            await ada.send()
            bob.insert(4, "two\n")
            await bob.send()
            for each in (ada, bob):
                await each.until("zero\none\ntwo\n")
            assert await content(host, "src/a b.py") == "zero\none\ntwo\n"


async def test_a_write_is_an_edit(tmp_path: Path) -> None:
    async with opened(tmp_path, {"main.py": b"one\ntwo\n"}) as (served, host, join), editor(served, join) as ada:
        await ada.sync()
        ada.insert(1, "AA")
        await ada.send()
        await ada.sync()
        await host.cmd("write", path="main.py", content="one\ntwo\nthree\n")
        await ada.until("oAAne\ntwo\nthree\n")
        assert await content(host) == str(ada)


async def test_what_is_typed_is_saved_after_a_while_and_by_the_last_who_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "SAVE_AFTER", 0.05)
    async with opened(tmp_path, {"main.py": b""}) as (served, _, join):
        box = served.registry.boxes[0]
        async with editor(served, join) as ada:
            await ada.sync()
            ada.insert(0, "a")
            await ada.send()
            await until(lambda: box.files["main.py"] == b"a")
            monkeypatch.setattr(documents, "SAVE_AFTER", 3600)
            await trio.sleep(0.1)  # the last wait of the old length is over
            ada.insert(1, "b")
            await ada.send()
            await ada.sync()
            assert box.files["main.py"] == b"a", "not at each key"
        await until(lambda: box.files["main.py"] == b"ab")
        assert len(box.writes) == 2
    assert SAVE_AFTER == 0.5


async def test_cursors_are_shown_to_others_and_go_with_their_connection(tmp_path: Path) -> None:
    async with opened(tmp_path, {"main.py": b""}) as (served, _, join), editor(served, join) as bob:
        await bob.sync()
        async with editor(served, join) as ada:
            await ada.say(Cursors([Cursor(7, 1, '{"user":{"name":"ada","color":"#f00"}}')]))
            while 7 not in bob.cursors:
                await bob.hear()
            assert bob.cursors[7] == {"user": {"name": "ada", "color": "#f00"}}
            # Nobody speaks for another's client, not even to say that it is gone.
            await bob.say(Cursors([Cursor(7, 9, "null"), Cursor(7, 10, '{"user":{"name":"eve"}}')]))
            await bob.sync()
            async with editor(served, join) as late:
                await late.say(Query())
                while not late.cursors:
                    await late.hear()
                assert late.cursors == {7: {"user": {"name": "ada", "color": "#f00"}}}
        while bob.cursors[7] is not None:
            await bob.hear()


async def test_a_quiet_connection_hears_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET", 0.05)
    async with opened(tmp_path, {"main.py": b""}) as (served, _, join), editor(served, join) as ada:
        await ada.sync()
        assert await ada.hear() == Cursors([])


async def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    files = {"main.py": b"", "binary": b"\xff\xfe", "large": b"x" * (TEXT_MAX + 1)}
    async with opened(tmp_path, files) as (served, _, join):
        for key, path, code, word in [
            ("n1-wrong", "main.py", 4404, "not_found"),
            (join, "absent.py", 4404, "not_found"),
            (join, "binary", 4415, "not_text"),
            (join, "large", 4413, "too_large"),
            (join, "a%00b", 4400, "bad_request"),
        ]:
            async with editor(served, key, path) as ada:
                told = await ada.closed()
                assert (told[0], told[1].partition(":")[0]) == (code, word), (path, told)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x09",
        b"\0\2\1\xff",
        encode(Update(b"\1\1\5\0\x08\1\4text\1\x7e\0")),
        encode(Cursors([Cursor(1, 1, "{")])),
    ],
    ids=["empty", "kind", "bytes", "value", "cursor"],
)
async def test_nonsense_ends_its_own_connection_alone(tmp_path: Path, message: bytes) -> None:
    async with opened(tmp_path, {"main.py": b"one"}) as (served, _, join), editor(served, join) as ada:
        await ada.sync()
        async with editor(served, join) as mallory:
            await mallory.sync()
            await mallory.say(message)
            assert (await mallory.closed())[0] == 4400
        ada.insert(0, "still ")
        await ada.send()
        await ada.sync()
        async with editor(served, join) as bob:
            await bob.sync()
            assert str(bob) == "still one"


async def test_a_gap_is_asked_for(tmp_path: Path) -> None:
    async with opened(tmp_path, {"main.py": b""}) as (served, _, join), editor(served, join) as ada:
        await ada.sync()
        for each in "abc":
            ada.insert(len(str(ada)), each)
        ada.typed.popleft()  # this one came by another way that the server knows nothing of
        await ada.send()
        await ada.hear()
        async with editor(served, join) as bob:
            await bob.sync()
            await bob.until("abc")


async def test_who_is_renamed_or_deleted_is_closed(tmp_path: Path) -> None:
    async with opened(tmp_path, {"main.py": b"one"}) as (served, host, join), editor(served, join) as ada:
        await ada.sync()
        ada.insert(3, " two")
        await ada.send()
        await ada.sync()
        assert await content(host) == "one two"
        del served.registry.boxes[0].files["main.py"]
        served.registry.spaces[0].files.documents.changed("main.py")
        assert (await ada.closed())[0] == 4404


async def test_a_copy_of_a_document_that_was_closed_is_not_merged(tmp_path: Path) -> None:
    async with opened(tmp_path, {"main.py": b"one"}) as (served, host, join):
        async with editor(served, join) as ada:
            await ada.sync()
        async with editor(served, join) as again:
            await again.say(State(ada.doc.get_state()))
            while not isinstance(await again.hear(), Update):
                pass
        served.registry.spaces[0].files.documents._drop("main.py", ValueError())  # type: ignore
        async with editor(served, join) as again:
            await again.say(State(ada.doc.get_state()))
            code, reason = await again.closed()
            assert (code, reason.partition(":")[0]) == (4409, "opened_anew")
        assert await content(host) == "one"


async def test_a_full_tree_is_told_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "SAVE_AFTER", 0.01)
    async with opened(tmp_path, {"full/a": b"one"}) as (served, host, join), editor(served, join, "full/a") as ada:
        await ada.sync()
        ada.insert(3, " two")
        await ada.send()
        error = await host.hear()
        assert (error["type"], error["code"]) == ("error", "refused")
        await ada.sync()
        assert str(ada) == "one two"


async def test_bounds(tmp_path: Path) -> None:
    files = {f"{number}": b"" for number in range(DOCUMENTS_MAX + 1)}
    async with opened(tmp_path, files, spaces={"members": 1}) as (served, _, join):
        async with editor(served, join, "0") as ada:
            await ada.sync()
            async with editor(served, join, "0") as bob:
                assert await bob.closed() == (1013, "busy: 1 have this file open")
            space = served.registry.spaces[0]
            for number in range(1, DOCUMENTS_MAX):
                await space.files.edit(f"{number}")
            async with editor(served, join, f"{DOCUMENTS_MAX}") as bob:  # in place of one that nobody has open
                await bob.sync()
            ada.insert(0, "a")
            await ada.send()
            await ada.sync()


async def test_the_end_of_a_space_is_told_and_editors_keep_it(tmp_path: Path) -> None:
    async with opened(tmp_path, {"main.py": b""}, spaces={"grace": 0.05}) as (served, host, join):
        async with editor(served, join) as ada:
            await ada.sync()
            await host.connection.aclose()
            space = served.registry.spaces[0]
            await until(lambda: not space.members)
            await trio.sleep(0.2)
            assert not space.reason, "somebody edits"
            space.kill("the test is over")
            assert await ada.closed() == (4410, "space_ended: the space has ended: the test is over")
