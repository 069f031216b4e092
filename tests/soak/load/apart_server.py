"""`python -m tests.soak.load.apart_server`: our WebSocket side on a port that `websockets` has.

What a server would be with a port for each protocol: the same sessions, without our listener.
"""

from __future__ import annotations

import asyncio
import sys

from rowcast.messages import SUBPROTOCOL
from rowcast_server.clients import Visitor
from rowcast_server.config import ServerConfig
from rowcast_server.gateway.watchdog import WatchedConnection
from rowcast_server.gateway.websocket import MAX_TRANSPORT_FRAME_BYTES, WRITE_LIMIT_BYTES
from rowcast_server.models.loading import load
from rowcast_server.server import RowcastServer
from websockets.asyncio.server import ServerConnection, serve

from ..scripted_server import ScriptedRunner


async def main(port: int) -> None:
    """Serve until standard input ends."""
    config, model = ServerConfig(port=0), load("postcard")
    ours = RowcastServer(
        model, config, lambda model, config, _: ScriptedRunner(model.grid, config.slots, 0.1)
    )
    await ours.start()  # what it listens at is not used
    side = ours._gateway._websocket
    visitor = Visitor("127.0.0.1", "127.0.0.1")

    async def handle(connection: ServerConnection) -> None:
        assert isinstance(connection, WatchedConnection)
        connection.forget_request()
        await side._handle(connection)

    class Connection(WatchedConnection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.visitor, self.left = visitor, lambda: None
            super().connection_made(transport)

    async with serve(
        handle,
        "127.0.0.1",
        port,
        create_connection=Connection,
        compression=None,
        subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
        max_size=MAX_TRANSPORT_FRAME_BYTES,
        write_limit=WRITE_LIMIT_BYTES,
        ping_interval=config.ping_interval,
        backlog=1_024,
    ) as server:
        print(f"ready ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await asyncio.to_thread(sys.stdin.buffer.read)
    await ours.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1].removeprefix("--port="))))
