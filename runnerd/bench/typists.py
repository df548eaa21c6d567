"""Many who type at once: `python -m runnerd.bench.typists HOST PORT COUNT RATE`, a process of its own.

Opens COUNT terminals and prints `ready` when programs wait in all of them. Then it is told, by lines on its input, to
`type` or to `rest`; each line is answered by itself. Keys come at random, RATE in a second from each. It ends with its
input.
"""

import os
import random
import selectors
import sys
import time

from runnerd.bench.client import WebSocket
from runnerd.bench.typist import INPUT, LINE, start, waits


class Crowd:
    def __init__(self, address: tuple[str, int], count: int, rate: float) -> None:
        self._selector = selectors.DefaultSelector()
        self._rate = count * rate
        self._connections = [WebSocket(address) for _ in range(count)]
        self._typed = dict.fromkeys(self._connections, 0)
        for connection in self._connections:
            start(connection)
        for connection in self._connections:
            while not waits(connection.receive()):
                pass
            self._selector.register(connection, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)

    def run(self) -> None:
        typing, due = False, 0.0
        while True:
            now = time.monotonic()
            while typing and due <= now:
                self._type(random.choice(self._connections))
                due += random.expovariate(self._rate)
            for key, _ in self._selector.select(max(0.0, due - now) if typing else None):
                if isinstance(key.fileobj, WebSocket):
                    key.fileobj.hear()
                    continue
                order = os.read(0, 100).decode().strip()
                if not order:
                    return
                typing, due = order == "type", time.monotonic()
                print(order, flush=True)

    def _type(self, connection: WebSocket) -> None:
        self._typed[connection] += 1
        connection.send(INPUT + (b"x" if self._typed[connection] % LINE else b"\n"))


def main() -> None:
    host, port, count, rate = sys.argv[1:]
    crowd = Crowd((host, int(port)), int(count), float(rate))
    print("ready", flush=True)
    crowd.run()


if __name__ == "__main__":
    main()
