"""Archives of a space and the news of it against a live daemon, with curl."""

import asyncio
import json
import subprocess
import tarfile
from pathlib import Path

from websockets.asyncio.client import connect

from tests.e2e.serving import Daemon, serve


def test_archives_go_in_and_out(tmp_path: Path) -> None:
    with serve(tmp_path) as daemon:
        asyncio.run(_space(daemon, tmp_path))
        assert "Traceback" not in daemon.log.read_text()


async def _space(daemon: Daemon, tmp_path: Path) -> None:
    url = daemon.url
    async with connect(f"{url.replace('http', 'ws')}/ws/spaces/x/") as ws:
        await ws.send(json.dumps({"type": "init"}))
        join = json.loads(await ws.recv())["join"]
        with tarfile.open(tmp_path / "in.tar", "w") as tar:
            (tmp_path / "big").write_bytes(b"no tar" * 3_500_000)
            tar.add(tmp_path / "big", "big")
        files = f"{url}/api/v1/spaces/files"

        def curl(*args: str) -> str:
            argv = ["curl", "-sS", "-m", "20", "-H", f"Authorization: Bearer {join}", *args]
            return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

        put = ["-T", str(tmp_path / "in.tar"), "-w", "%{http_code}", f"{files}?path=sub"]
        assert await asyncio.to_thread(curl, *put) == "204"
        assert json.loads(await ws.recv()) == {"type": "change", "change": "upload", "path": "sub", "user": None}
        await asyncio.to_thread(curl, "-o", str(tmp_path / "out.tar"), files)
        with tarfile.open(tmp_path / "out.tar") as tar:
            assert tar.getmember("./sub/big").size == 21_000_000
        refused = json.loads(await asyncio.to_thread(curl, "-T", str(tmp_path / "big"), files))
        assert (refused["code"], refused["status"]) == ("refused", 400)
        leaving = ["curl", "-sS", "-m", "0.5", "--limit-rate", "10k", "-H", f"Authorization: Bearer {join}", files]
        left = await asyncio.to_thread(subprocess.run, leaving, capture_output=True, check=False)
        assert left.returncode == 28, "in the midst"
        while True:  # what the leaver took is given up, and the space goes on
            await ws.send(json.dumps({"type": "cmd", "command": {"type": "shell", "command": "pgrep -c tar; true"}}))
            heard = [json.loads(await ws.recv()) for _ in range(3)]
            assert heard[-1] == {"type": "terminal-data-end"}, heard
            if heard[0]["data"] == "0":
                return
