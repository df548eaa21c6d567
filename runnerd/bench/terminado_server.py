"""terminado with `cat` on its terminal, on a free port of loopback, which it prints."""

import asyncio

import tornado.web
from terminado.management import UniqueTermManager
from terminado.websocket import TermSocket
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets


async def main() -> None:
    manager = UniqueTermManager(shell_command=["cat"])
    application = tornado.web.Application([("/", TermSocket, {"term_manager": manager})])
    sockets = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(application)
    server.add_sockets(sockets)
    print(sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
