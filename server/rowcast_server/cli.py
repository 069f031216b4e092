"""The command `rowcast serve`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rowcast.errors import RowcastError

from .config import ServerConfig, usable_cores
from .network.facts import DEFAULT_CACHE, CacheKind
from .placement import DTYPES, place_all

if TYPE_CHECKING:
    from .server import RowcastServer

logger = logging.getLogger(__name__)

TOKEN_VARIABLE = "ROWCAST_TOKENS"
MAX_PUBLIC_URL = 900  # characters: with a file's name behind it, it fits what `welcome` can tell
SETTINGS = [setting for setting in fields(ServerConfig) if setting.metadata]  # that are options

Say = Callable[[str], None]


def serve(arguments: list[str]) -> int:
    """Serve a model: prompts in, rows of tokens out."""
    parser = serve_parser()
    options = parser.parse_args(arguments)
    if options.stop_at_eof:
        threading.Thread(target=_stop_at_eof, daemon=True).start()
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    config = _config(parser, options)  # a device that is not there is told before a download
    from .memory import with_caches_that_fit
    from .models.loading import load
    from .server import RowcastServer

    say = _say if not options.quiet else lambda line: None
    say(f"loading {options.model} …")
    model = load(options.model, options.start_token)
    if options.cache is None:
        fitting = with_caches_that_fit(config.placements, model.decoder, config.slots)
        config = replace(config, placements=fitting)
    server = RowcastServer(model, config)  # here, so that Ctrl-C ends what may take minutes
    return asyncio.run(_serve(server, say))


def serve_parser() -> argparse.ArgumentParser:
    """The options of `rowcast serve`."""
    parser = argparse.ArgumentParser(
        prog="rowcast serve",
        allow_abbrev=False,
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
    parser.add_argument(
        "--token-file",
        type=Path,
        help=f"admit only clients with a token of this file, one a line (or ${TOKEN_VARIABLE}, "
        "separated by spaces)",
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
        help="what the CPU caches of each token: keys and values, or states, which take half the "
        "memory and more time, the more so the more pictures are drawn at once, and in int8 most "
        f"(default: {DEFAULT_CACHE}, and states only where those do not fit into memory). States "
        "draw nearly the same pictures, and are another revision",
    )
    default = ServerConfig()
    for setting in SETTINGS:
        value, words = getattr(default, setting.name), setting.metadata["help"]
        parser.add_argument(
            setting.metadata["option"],
            dest=setting.name,
            type=str if value is None else type(value),
            default=value,
            help=words if "default: " in words else f"{words} (default: {_plain(value)})",
        )
    parser.add_argument(
        "--stop-at-eof",
        action="store_true",
        help="stop once standard input ends, as it does with the program that started this one",
    )
    parser.add_argument(
        "--verbose",
        action="store_true",
        help="log connections, pictures with their times, and downloads; never prompts, tokens or "
        "keys",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="say nothing at the start but `ready …` and warnings"
    )
    return parser


def _config(parser: argparse.ArgumentParser, options: argparse.Namespace) -> ServerConfig:
    """The settings asked for. Wrong ones end the program (argparse); raises RowcastError where a
    device or a file of tokens cannot be had."""
    settings = {setting.name: getattr(options, setting.name) for setting in SETTINGS}
    for setting in SETTINGS:
        value, (least, most) = settings[setting.name], setting.metadata["range"]
        if isinstance(value, int | float) and not least <= value <= most:
            parser.error(f"{setting.metadata['option']} must be {least} to {most}")
    if not settings["host"]:  # asyncio would listen on every address
        parser.error("--host must be an address, as 127.0.0.1; 0.0.0.0 is all of IPv4")
    if settings["port"] == settings["http_port"] != 0:
        parser.error("--port and --http-port must be two ports")
    if settings["public_url"] is not None and (fault := _fault_of(settings["public_url"])):
        parser.error(f"--public-url must be as https://pictures.example.org: {fault}")
    if settings["threads"] > (cores := usable_cores()):
        asked = settings["threads"]
        logger.warning(
            "--threads %d: this process may use %d cores; taking %d", asked, cores, cores
        )
        settings["threads"] = cores
    cache = CacheKind(options.cache or DEFAULT_CACHE)
    placements = place_all(options.device, options.dtype, cache)
    if options.draft_window > 1 and not placements[0].by_onnx:
        parser.error("--draft-window is for the CPU, in float32 or int8")
    if options.cache is not None and not placements[0].by_onnx:
        parser.error("--cache is for the CPU, in float32 or int8; torch caches keys and values")
    return ServerConfig(placements=placements, tokens=_tokens(options.token_file), **settings)


def _tokens(file: Path | None) -> frozenset[str]:
    try:
        text = os.environ.get(TOKEN_VARIABLE) if file is None else file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise RowcastError(f"{file} is no text: {error}") from error
    if text is None:
        return frozenset()
    tokens = frozenset(text.split())
    for number, line in enumerate([] if file is None else text.splitlines(), 1):
        if len(line.split()) > 1:  # a remark would admit whoever sends one of its words
            raise RowcastError(f"line {number} of {file} has more than one word; a line is a token")
    if not tokens:
        where = f"${TOKEN_VARIABLE}" if file is None else file
        without = "unset it" if file is None else "leave it out"
        raise RowcastError(
            f"{where} holds no token; write one into it, or {without} to admit every client"
        )
    return tokens


def _stop_at_eof() -> None:
    """Wait for the end of standard input, then stop as SIGTERM does, also while a model loads."""
    while os.read(0, 4_096):  # not sys.stdin, whose lock a thread must not hold at the end
        pass
    if hasattr(signal, "pthread_kill"):  # to the thread that waits: another would not wake it
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:  # Windows
        os.kill(os.getpid(), signal.SIGTERM)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _fault_of(url: str) -> str:
    """What is wrong with a public URL, which is not shown: it may hold a password. Empty if nothing
    is."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - it is read here, and may be no number
    except ValueError:  # whose text may show a password
        return "it is no address"
    if parts.username is not None or parts.password is not None:
        return "every client would be told its user name and password"
    if parts.scheme not in ("http", "https"):
        return f"its scheme is {parts.scheme!r}, not http or https"
    if not parts.hostname:
        return "it names no host"
    if parts.query or parts.fragment or not url.isprintable() or " " in url:
        return "file names are put behind it, so it has no ?, no # and no space"
    return "" if len(url) <= MAX_PUBLIC_URL else f"it is longer than {MAX_PUBLIC_URL} characters"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


async def _serve(server: RowcastServer, say: Say) -> int:
    """Serve until a signal asks to stop; a second one does not wait for pictures."""
    stopped = asyncio.Event()

    def stop() -> None:
        if stopped.is_set():
            server.hurry()
        stopped.set()

    with _signals_to(asyncio.get_running_loop(), stop):
        await server.start()
        for line in server.summary:
            say(line)
        print(f"ready {server.ws_url} {server.http_url}", flush=True)
        await stopped.wait()
        if server.watched and server.config.drain:
            say(
                f"stopping: pictures have {_plain(server.config.drain)} s to end; Ctrl-C again "
                "stops at once"
            )
        await server.close(server.config.drain)
    return 0


@contextlib.contextmanager
def _signals_to(loop: asyncio.AbstractEventLoop, stop: Callable[[], object]) -> Iterator[None]:
    """Have SIGINT and SIGTERM call ``stop`` in the loop; the old handlers return afterwards.

    By the loop's own handlers, which wake it also where another thread gets the signal; Windows has
    none, and there any signal wakes the loop.
    """
    numbers = signal.SIGINT, signal.SIGTERM
    before = [signal.getsignal(number) for number in numbers]
    for number in numbers:
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, handler)
