"""`rowcast demo`: a server and a client in one command, as two processes over a real socket; and
then the server's page, where there is a browser."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import ConnectionFailed
from ..pixels.http_client import read
from .draw_pictures import draw
from .exit_codes import DONE, Terminated
from .options import DrawOptions, add_picture_options, add_request_options
from .parsers import CommandParser, command_parser
from .text import open_console, say

if TYPE_CHECKING:
    from rich.console import Console

DEFAULT_PROMPT = "sunset over the sea, a boat with a red sail, a yellow balloon on the left"
NEXT_PROMPT = "a yellow balloon over the sea"
STOP_SECONDS = 5.0


def demo(words: list[str]) -> int:
    """Start a server, draw a picture on it, watch it form."""
    options: DrawOptions = demo_parser().parse_anywhere(words, DrawOptions())
    options.prompts, options.sources = [options.prompt], []
    options.address_again, options.is_gone = "", True
    console = open_console()
    begun = time.perf_counter()
    with local_server(options.model or "postcard") as options.url:
        say(console, f"the server is up at {options.url} after {time.perf_counter() - begun:.1f} s")
        options.model = None  # the server has only this one
        code = draw(options)
        if code == DONE and (has_browser() if options.page is None else options.page):
            show_page(console, options.url)
    if code == DONE and options.stop_row is None:  # else the report told how to go on
        say(console, f"go on with: {options.next_command(repr(NEXT_PROMPT))}")
    return code


def demo_parser() -> CommandParser:
    """The options of `rowcast demo`."""
    parser = command_parser(
        "demo",
        "Start a server on a free port with the embedded model, draw on it through a "
        "WebSocket, paint the picture here while its rows of tokens arrive, save PNG, GIF and "
        ".rows.",
        "",
        "'night over the sea, a boat with a red sail, a full moon on the left'",
        "'a white house in the snow' --images 4 --seed 7 --out pictures --json",
    )
    parser.add_argument(
        "prompt",
        nargs="?",
        default=DEFAULT_PROMPT,
        help=f"what to draw (default: {DEFAULT_PROMPT})",
    )
    parser.add_argument(
        "--page",
        action=argparse.BooleanOptionalAction,
        help="afterwards, open the server's page and serve it until Ctrl-C (default: in a terminal "
        "where there is a browser with a window)",
    )
    add_request_options(parser, "postcard, or a model folder (default: postcard)")
    add_picture_options(parser)
    return parser


def has_browser() -> bool:
    """True if somebody is there to look at a page, and a browser to show it."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    if sys.platform not in ("darwin", "win32") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def show_page(console: Console, server: str) -> None:
    """Open the server's page, if it has one, and wait for Ctrl-C."""
    page = server.replace("ws", "http", 1) + "/"
    try:
        read(page, server, None, None)
    except ConnectionFailed as error:
        say(console, str(error))
        return
    say(console, f"the page is at {page} until Ctrl-C")
    webbrowser.open(page)
    try:
        while True:
            time.sleep(3600)
    except Terminated:
        raise
    except KeyboardInterrupt:
        return  # as it was told


@contextmanager
def local_server(model: str, *options: str) -> Iterator[str]:
    """A server process on a free port; yields its ws:// address once it takes jobs.

    ``options`` are further words of `rowcast serve`.

    It ends with this process, however that ends: then its standard input does.
    """
    command = [sys.executable, "-m", "rowcast", "serve", "--host", "127.0.0.1"]
    command += ["--port", "0", "--model", model, "--stop-at-eof", "--quiet", *options]
    with ExitStack() as starting:
        apart = starting.enter_context(_without_ctrl_c())
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **apart
        ) as process:
            try:
                starting.close()
                assert process.stdout is not None
                for line in process.stdout:
                    if line.startswith("ready "):
                        yield line.split()[1]
                        return
                raise ConnectionFailed(
                    f"the server did not start (exit code {process.wait()}); try `rowcast serve`"
                )
            finally:
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()


@contextmanager
def _without_ctrl_c() -> Iterator[dict[str, Any]]:
    """Arguments of `Popen` for a process that Ctrl-C does not reach: it is the client's alone."""
    if sys.platform == "win32":
        yield {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # it is inherited
    try:
        yield {}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
