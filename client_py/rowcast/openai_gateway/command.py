"""`rowcast openai`: an endpoint in OpenAI's shape before a server of rows."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import threading

from ..codes import CloseCode
from ..errors import ConnectionFailed, RowcastError
from ..pixels.network import is_loopback
from ..terminal.exit_codes import stop_at_eof
from ..terminal.parsers import CommandParser, command_parser
from ..terminal.servers import (
    add_host_option,
    add_server_options,
    client_arguments,
    settle_server,
)
from ..terminal.text import answer, open_console, warnings_shown
from .app import Gateway, listening
from .drawing import Upstream
from .studio import Studio

logger = logging.getLogger(__name__)

DEFAULT_PORT = 8766
MOST_WORKERS = 256
ANYWHERE = ("0.0.0.0", "::")


def openai(words: list[str]) -> int:
    """Serve OpenAI's image API to clients that cannot decode."""
    parser = openai_parser()
    options = parser.parse_anywhere(words)
    token = options.token  # and no other: everybody who comes draws with it
    settle_server(parser, options)
    if not 0 <= options.port <= 65_535:
        parser.error("--port must be 0 to 65535")
    if not 1 <= options.workers <= MOST_WORKERS:
        parser.error(f"--workers must be 1 to {MOST_WORKERS}")
    if token is not None and (options.host in ANYWHERE or not is_loopback(options.host)):
        parser.error(
            f"--host {options.host}: whoever reaches it would draw with --token; leave --token "
            "out, and callers give their own as API key"
        )
    if options.stop_at_eof:
        threading.Thread(target=stop_at_eof, daemon=True).start()
    arguments = client_arguments(options) | {"token": token}
    with warnings_shown(open_console()):
        asyncio.run(_serve(options, Upstream(options.url, **arguments)))
    return 0


async def _serve(options: argparse.Namespace, upstream: Upstream) -> None:
    """Serve until it is cancelled."""
    hosts = tuple(options.allowed_hosts or ())
    studio = Studio(upstream.url, options.workers, allowed_hosts=hosts, proxy=upstream.proxy)
    gateway = Gateway(upstream, studio, options.origins)
    preloading = asyncio.create_task(_preload(gateway))
    try:
        async with listening(gateway, options.host, options.port) as url:
            answer(f"ready {url}")
            await asyncio.Event().wait()
    finally:
        preloading.cancel()
        await studio.close()


async def _preload(gateway: Gateway) -> None:
    """Have the tiers before the first caller comes; where that cannot be, they are fetched for it,
    with its token where the server asks for one."""
    try:
        await gateway.preload()
    except RowcastError as error:
        if not (isinstance(error, ConnectionFailed) and error.code == CloseCode.BAD_TOKEN):
            logger.warning("%s", error)


def openai_parser() -> CommandParser:
    """The options of `rowcast openai`."""
    parser = command_parser(
        "openai",
        "Serve OpenAI's image API (POST /v1/images/generations, also as a stream with partial "
        "images; GET /v1/models) for clients that cannot decode rows of tokens themselves. It is "
        "a client of the server at URL: it decodes here, and passes on the API key of each caller "
        "as its token. Prints one line `ready http://…/v1` once it answers; Ctrl-C stops it.",
        "",
        "wss://pictures.example.org --host 0.0.0.0 --port 80",
        "ws://127.0.0.1:8765 --allow-origin https://app.example.org",
    )
    add_server_options(
        parser,
        "the token that everybody draws with who calls; for calls from this machine alone "
        "(default: each caller's own, given as its API key)",
    )
    add_host_option(parser)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at; 0.0.0.0 is all of IPv4 (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        help="port to listen at; 0 is any (default: %(default)s)",
    )
    parser.add_argument(
        "--allow-origin",
        dest="origins",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="pages from there may call it too, as https://app.example.org, or * for all; may be "
        "given again (default: no page)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=max(1, (os.cpu_count() or 2) // 2),
        metavar="N",
        help="pictures painted at once, each by a thread (default: half the cores)",
    )
    parser.add_argument(
        "--stop-at-eof",
        action="store_true",
        help="stop once standard input ends, as it does with the program that started this one",
    )
    return parser
