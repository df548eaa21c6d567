"""Documents that are edited together, against a live daemon: five members at once, and Yjs's own client in Node."""

import asyncio
import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from websockets.asyncio.client import ClientConnection, connect

from runnerd.protocols.documents import Cursors, State, Update, decode, encode
from tests.e2e.serving import Daemon, serve
from tests.e2e.test_published import NODE, PATIENCE
from tests.e2e.test_spaces import Member, space
from tests.session.copies import Copy

WEB = Path(__file__).parents[2] / "web"
TREE = {"name": "src", "type": "folder", "children": [{"name": "main.py", "type": "file", "content": "print(1)\n"}]}
PATH = "src/main.py"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with serve(tmp_path_factory.mktemp("documents")) as daemon:
        yield daemon


class Editor(Copy):
    """One member. What it hears and types goes in order, but late, as `luck` has it."""

    def __init__(self, connection: ClientConnection, luck: random.Random) -> None:
        super().__init__()
        self.connection, self.luck = connection, luck
        self.answered = asyncio.Event()

    async def listen(self) -> None:
        async for data in self.connection:
            await asyncio.sleep(self.luck.choice([0, 0, 0.003, 0.01]))
            match decode(data):
                case State(vector):
                    await self.connection.send(encode(Update(self.doc.get_update(vector), answer=True)))
                case Update(update, answer):
                    self.hear(update)
                    if answer:
                        self.answered.set()
                case Cursors():
                    pass
                case other:
                    raise AssertionError(other)

    async def sync(self) -> None:
        self.answered.clear()
        await self.connection.send(encode(State(self.doc.get_state())))
        async with asyncio.timeout(PATIENCE):
            await self.answered.wait()

    async def edit(self, name: str, count: int) -> None:
        for number in range(count):
            length = len(str(self))
            if number % 4 == 3:
                self.delete(self.luck.randrange(length - 2), 2)
            else:
                self.insert(self.luck.randrange(length + 1), f"{name}{number}é😀\n")
            await asyncio.sleep(self.luck.choice([0, 0.002, 0.008]))
            if self.luck.random() < 0.7:  # or later, with the next
                await self.send()
        await self.send()

    async def send(self) -> None:
        while self.typed:
            await self.connection.send(encode(Update(self.typed.popleft())))


def document(daemon: Daemon, join: str, path: str = PATH) -> connect:
    url = f"ws://127.0.0.1:{daemon.port}/ws/documents/{join}/{quote(path)}"
    return connect(url, open_timeout=PATIENCE, proxy=None, max_size=2**25)


async def made(host: Member) -> str:
    """A space with a tree: its join key."""
    await host.send(json.dumps({"type": "init"}))
    join = (await host.hear())["join"]
    await host.cmd("project", file_structure=TREE)
    assert (await host.hear())["type"] == "msg"
    return join


def test_a_hundred_edits_by_five_members_converge_everywhere(daemon: Daemon) -> None:
    async def check() -> None:
        async with space(daemon) as connection:
            host = Member(connection)
            join = await made(host)
            async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
                editors = [Editor(await document(daemon, join), random.Random(number)) for number in range(5)]
                listening = [group.create_task(each.listen()) for each in editors]
                for each in editors:
                    await each.sync()
                    assert str(each) == "print(1)\n"
                await asyncio.gather(*(each.edit("abcde"[number], 20) for number, each in enumerate(editors)))
                for each in editors:  # all that anybody sent is there once everybody had an answer
                    await each.sync()
                for each in editors:
                    await each.sync()
                (text,) = {str(each) for each in editors}
                assert sum(text.count(f"{name}{number}é") for name in "abcde" for number in range(20)) > 30
                # A program sees it too, at once.
                assert await host.shell(f"cat {PATH}") == text
                await host.cmd("read", path=PATH)
                assert (await host.hear())["content"] == text
                for each in editors:
                    await each.connection.close()
                await asyncio.gather(*listening)

    asyncio.run(check())


PROGRAM = """
import * as Y from "yjs"
import { WebsocketProvider } from "y-websocket"

const [server, join, path] = process.argv.slice(1)

function member(name, color, file = path) {
  const doc = new Y.Doc()
  const provider = new WebsocketProvider(`${server}/ws/documents`, `${join}/${file}`, doc, { disableBc: true })
  provider.awareness.setLocalStateField("user", { name, color })
  return { doc, provider, text: doc.getText("text"), awareness: provider.awareness }
}

async function until(what, done) {
  for (const began = Date.now(); !done(); await new Promise(resolve => setTimeout(resolve, 5)))
    if (Date.now() - began > 20000) { console.log("never: " + what); process.exit(1) }
}

const shown = (who, other) => who.awareness.getStates().get(other.doc.clientID)?.user
const same = () => ada.text.toString() === bob.text.toString()

const ada = member("ada", "#6366f1"), bob = member("bob", "#22c55e")
await until("synced", () => ada.provider.synced && bob.provider.synced)
console.log(JSON.stringify(ada.text.toString()))

ada.text.insert(0, "# ada \\u{1F600}\\n")
bob.text.insert(bob.text.length, "# bob\\n")
await until("both", () => same() && ada.text.toString() === "# ada \\u{1F600}\\nprint(1)\\n# bob\\n")

await until("cursors", () => shown(ada, bob)?.name === "bob" && shown(bob, ada)?.color === "#6366f1")

bob.provider.disconnect()
await until("bob left", () => shown(ada, bob) === undefined)
bob.text.insert(0, "offline\\n")
ada.text.insert(ada.text.length, "meanwhile\\n")
bob.provider.connect()
await until("bob is back", () => same() && ada.text.toString().startsWith("offline\\n")
  && bob.text.toString().endsWith("meanwhile\\n") && shown(ada, bob)?.name === "bob" && shown(bob, ada)?.name === "ada")

const plain = new WebSocket(`${server}/ws/spaces/defoult/`)
await new Promise(resolve => { plain.onopen = resolve })
let content
plain.onmessage = event => { content = JSON.parse(event.data).content ?? content }
plain.send(JSON.stringify({ type: "join", join }))
plain.send(JSON.stringify({ type: "cmd", command: { type: "read" }, path }))
await until("read", () => content !== undefined)
for (let i = 0; i < 5; i++) { ada.text.insert(9, "A"); bob.text.insert(bob.text.length, "B") }
plain.send(JSON.stringify({ type: "cmd", command: { type: "write" }, path, content: content + "plain\\n" }))
for (let i = 0; i < 5; i++) { ada.text.insert(9, "A"); bob.text.insert(bob.text.length, "B") }
const count = (text, letter) => text.split(letter).length - 1
await until("merged", () => same() && ada.text.toString().includes("plain\\n")
  && count(ada.text.toString(), "A") === 10 && count(ada.text.toString(), "B") === 10)

const lost = member("eve", "#000", "absent.py")
const closed = await new Promise(resolve => lost.provider.on("closed", resolve))
console.log(closed.code, closed.reason.split(":")[0])
console.log(JSON.stringify(ada.text.toString()))
process.exit(0)
"""


def test_yjs_and_its_provider(daemon: Daemon) -> None:
    async def check() -> None:
        async with space(daemon) as connection:
            host = Member(connection)
            join = await made(host)
            argv = [NODE, "--input-type=module", "-e", PROGRAM, daemon.url.replace("http:", "ws:"), join, PATH]
            node = await asyncio.create_subprocess_exec(*argv, cwd=WEB, stdout=subprocess.PIPE)
            out, _ = await asyncio.wait_for(node.communicate(), PATIENCE * 2)
            before, lost, after = out.decode().splitlines()
            assert json.loads(before) == "print(1)\n"
            assert lost == "4404 not_found"
            assert await host_reads(host) == json.loads(after)

    asyncio.run(check())


async def host_reads(host: Member) -> str:
    await host.cmd("read", path=PATH)
    while (message := await host.hear())["type"] != "file":
        pass
    return message["content"]
