"""`rowcast serve`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rowcast.errors import RowcastError

from .config import ServerConfig
from .engine.runner import WINDOW
from .network.cache_kind import CacheKind
from .placement import DTYPES, place_all

if TYPE_CHECKING:
    from .models.loading import LoadedModel

TOKEN_VARIABLE = "ROWCAST_TOKENS"


def serve(arguments: list[str]) -> int:
    """Serve a model: prompts in, rows of tokens out."""
    default = ServerConfig()
    parser = argparse.ArgumentParser(
        prog="rowcast serve",
        description="Serve a model over a WebSocket, and its detokenizer over HTTP. Prints one "
        "line `ready ws://… http://…` once it takes jobs; Ctrl-C stops it.",
        epilog="examples:\n"
        "  rowcast serve\n"
        "  rowcast serve --model mini\n"
        "  rowcast serve --model mega --device cuda --dtype bfloat16\n"
        "  rowcast serve --host 0.0.0.0 --public-url https://pictures.example.org\n"
        "  ROWCAST_TOKENS=secret rowcast serve\n"
        "then, elsewhere:\n"
        "  rowcast generate ws://127.0.0.1:8765 'a red house at sunset'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model",
        default="postcard",
        help="postcard (embedded); mini or mega (from ./pretrained as min-dalle lays it out, else "
        "from the hub); or a model folder (default: %(default)s)",
    )
    parser.add_argument(
        "--start-token",
        type=int,
        metavar="ID",
        help="what drawing starts from (default: the model's own, 16384 for mini and mega; "
        "min-dalle 0.4.11 uses 16383)",
    )
    parser.add_argument("--host", default=default.host, help="default: %(default)s")
    parser.add_argument(
        "--port", type=int, default=default.port, help="WebSocket; 0 is any (default: %(default)s)"
    )
    parser.add_argument(
        "--http-port", type=int, default=default.http_port, help="0 is any (default: %(default)s)"
    )
    parser.add_argument(
        "--public-url",
        help="where clients reach the HTTP side (default: the host they came by, and --http-port)",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        help=f"admit only clients with a token of this file, one a line (or ${TOKEN_VARIABLE}, "
        "separated by spaces)",
    )
    parser.add_argument(
        "--slots", type=int, default=default.slots, help="pictures at once (default: %(default)s)"
    )
    parser.add_argument(
        "--queue",
        type=int,
        default=default.queue_limit,
        help="that may wait (default: %(default)s)",
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:N, mps or auto: CUDA where torch sees it, else the CPU (default: "
        "%(default)s). Several, as cuda:0,cuda:1 or cuda:all, get an engine each. Tested on the "
        "CPU; cuda and mps have not been run by the project's tests",
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="of weights and caches (default: bfloat16 on cuda, else float32; float16 suits cards "
        "without bfloat16; int8 is the CPU's fastest, and draws slightly other pictures). All but "
        "float32 and int8 on the CPU needs torch",
    )
    parser.add_argument(
        "--cache",
        choices=[str(kind) for kind in CacheKind],
        help="what the CPU remembers of each token: states take half the memory of keys and "
        "values, which are faster, the more so the more pictures are drawn at once, and in int8 "
        "most (default: states, in int8 keys-values). The other one draws nearly the same "
        "pictures, and is another revision",
    )
    parser.add_argument(
        "--draft-window",
        type=int,
        default=default.draft_window,
        metavar="N",
        help=f"on the CPU, guess N tokens at once (2 to {WINDOW}) of a picture that is alone: the "
        "same picture, sooner where guesses are often right (default: %(default)s, no guessing)",
    )
    parser.add_argument("--threads", type=int, default=default.threads, help="default: all cores")
    parser.add_argument("--verbose", action="store_true", help="log every connection")
    options = parser.parse_args(arguments)
    for name, least in (("slots", 1), ("queue", 0), ("threads", 1), ("port", 0), ("http_port", 0)):
        if not least <= getattr(options, name) <= 65_535:
            parser.error(f"--{name.replace('_', '-')} must be {least} to 65535")
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # What does not read HTTP or WebSocket is the peer's mistake, not ours to trace.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    if not 1 <= options.draft_window <= WINDOW:
        parser.error(f"--draft-window must be 1 to {WINDOW}")
    placements = place_all(options.device, options.dtype)  # before a download is waited for
    if options.draft_window > 1 and not placements[0].by_onnx:
        parser.error("--draft-window is for the CPU, in float32 or int8")
    if options.cache is not None and not placements[0].by_onnx:
        parser.error("--cache is for the CPU, in float32 or int8; torch keeps keys and values")
    config = replace(
        default,
        devices=tuple(placement.device for placement in placements),
        dtype=placements[0].dtype,
        cache=options.cache and CacheKind(options.cache),
        draft_window=options.draft_window,
        host=options.host,
        port=options.port,
        http_port=options.http_port,
        public_url=options.public_url,
        tokens=_tokens(options.token_file),
        slots=options.slots,
        queue_limit=options.queue,
        threads=options.threads,
    )
    from .models.loading import load

    if sys.stderr.isatty():
        print(f"loading {options.model} …", file=sys.stderr)
    model = load(options.model, options.start_token)  # here, so that Ctrl-C ends a long download
    return asyncio.run(_serve(model, config))


def _tokens(file: Path | None) -> frozenset[str]:
    if file is None:
        return frozenset(os.environ.get(TOKEN_VARIABLE, "").split())
    try:
        tokens = frozenset(file.read_text("utf-8").split())
    except UnicodeDecodeError as error:
        raise RowcastError(f"{file} is no text: {error}") from error
    if not tokens:
        raise RowcastError(f"{file} holds no token; every client would be admitted")
    return tokens


async def _serve(model: LoadedModel, config: ServerConfig) -> int:
    from .server import RowcastServer

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    server = RowcastServer(model, config)
    try:
        await server.start()
    except OSError as error:
        await server.close()
        raise RowcastError(
            f"cannot listen on {config.host}, ports {config.port} and {config.http_port}: "
            f"{error.strerror or error}; is another server running? choose others with --port"
        ) from error
    print(f"ready {server.ws_url} {server.http_url}", flush=True)
    await stop.wait()
    await server.close()
    return 0
