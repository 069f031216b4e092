"""Whom a command asks, and for what: the server's address and token, the prompts.

The first word is the server's address if it looks like one. Else it is ``$ROWCAST_URL``, or a
server on this machine as `rowcast serve` starts it.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ..errors import ConnectionFailed, ConnectionLost, InvalidRequest
from ..pixels.network import redacted
from .install_hints import command_name
from .parsers import CommandParser

DEFAULT_URL: Final = "ws://127.0.0.1:8765"  # where `rowcast serve` listens by default
URL_VARIABLE: Final = "ROWCAST_URL"
TOKEN_VARIABLE: Final = "ROWCAST_TOKEN"
ENVIRONMENT: Final = "environment"
SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
HOST_AND_PORT: Final = re.compile(
    r"([^\s@]+@)?([\w.-]+|\[[0-9a-f:.]+\]):\d{1,5}(/\S*)?", re.IGNORECASE
)

# No prompt, and no address either: `as_url` knows those.
MEANT_AS_ADDRESS: Final = re.compile(r"wss?:.*|localhost|\d+(\.\d+){3}|\S+:\S*@\S+", re.IGNORECASE)


TOKEN_HELP: Final = f"the token that the server asks for (default: ${TOKEN_VARIABLE})"


def add_server_options(parser: CommandParser, token_help: str = TOKEN_HELP) -> None:
    """The options of commands that ask a server that somebody else started."""
    parser.add_argument(
        "url",
        nargs="?",
        help=f"the server, as `rowcast serve` prints it (default: ${URL_VARIABLE}, else "
        f"{DEFAULT_URL})",
    )
    add_way_options(parser, token_help)


def add_way_options(parser: CommandParser, token_help: str = TOKEN_HELP) -> None:
    """How a server is reached, whatever its address."""
    parser.add_argument("--token", help=token_help)
    parser.add_argument(
        "--proxy",
        metavar="URL",
        help="reach the server and its files by this proxy (http, https, socks5 or socks5h), or, "
        f"with the word {ENVIRONMENT}, by those that HTTPS_PROXY and its like name (default: none)",
    )


def add_host_option(parser: CommandParser) -> None:
    """Whom files are fetched from."""
    parser.add_argument(
        "--allow-host",
        dest="allowed_hosts",
        action="append",
        metavar="HOST",
        help="also fetch the detokenizer from this host (default: the server's own, only)",
    )


def add_prompt_options(parser: CommandParser) -> None:
    """The prompts of commands that draw, after `add_server_options`."""
    parser.add_argument(
        "prompt",
        nargs="*",
        help="what to draw, in quotes; several are drawn one after the other (several of one word "
        "each: with --prompts)",
    )
    parser.add_argument(
        "--prompts",
        dest="prompts_file",
        type=Path,
        metavar="FILE",
        help="prompts, one a line, - for standard input; lines that begin with # are left out; "
        "--images pictures are drawn of each",
    )


def settle_server(
    parser: CommandParser, options: argparse.Namespace, addresses: Sequence[str] = ()
) -> None:
    """Fill in ``url``, ``address_again`` and ``token``, and ``prompts`` with the other words.

    ``addresses`` stood elsewhere among the words. Raises WrongUsage.
    """
    words = [*addresses] if options.url is None else [*addresses, options.url]
    words += getattr(options, "prompt", [])
    address = as_url(words[0]) if words else None
    if address is not None:
        words.pop(0)
    unnamed = os.environ.get(URL_VARIABLE) or DEFAULT_URL
    unnamed = as_url(unnamed) or unnamed
    options.url = address or unnamed
    if options.url == unnamed:
        options.address_again = ""
    elif redacted(options.url) == options.url:
        options.address_again = f"{shlex.quote(options.url)} "
    options.token = options.token or os.environ.get(TOKEN_VARIABLE) or None
    if not hasattr(options, "prompt"):
        if words:
            parser.error(f"{redacted(words[0])!r} is no address of a server; use ws://host:port")
        return
    for word in words:
        if as_url(word) or MEANT_AS_ADDRESS.fullmatch(word):
            shown = redacted(word)
            parser.error(f"{shown!r} is no prompt; an address, as ws://host:port, comes first")
    if len(words) > 1 and not any(" " in word for word in words):
        parser.error(f"put the prompt in quotes: '{' '.join(words)}'; or give --prompts FILE")
    if words and options.prompts_file is not None:
        parser.error("give a prompt, or a file of them with --prompts, not both")
    options.prompts = words


def read_prompts(path: Path) -> list[str]:
    """Prompts: the lines of a text file, or of stdin for ``-``, but empty ones and remarks (#).

    Raises OSError, or InvalidRequest where there is none or the file is no text.
    """
    try:
        data = sys.stdin.buffer.read() if path == Path("-") else path.read_bytes()
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is no text in UTF-8: {error}") from error
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise InvalidRequest(f"{path} holds no prompt; write one a line")
    return prompts


def as_url(word: str) -> str | None:
    """The address that a word is, with its scheme; None for any other word."""
    if SCHEME.match(word):
        return word
    return f"ws://{word}" if HOST_AND_PORT.fullmatch(word) else None


def client_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of a client for the server of these options, beside its address."""
    proxy = True if options.proxy == ENVIRONMENT else options.proxy
    return {"token": options.token, "proxy": proxy}


@contextmanager
def asking(url: str) -> Iterator[None]:
    """Say how a server is started, where the one that nobody named is not there."""
    try:
        yield
    except ConnectionFailed as error:
        if url != DEFAULT_URL or error.code is not None or isinstance(error, ConnectionLost):
            raise
        called = command_name()
        raise ConnectionFailed(
            f"{error} Start one with `{called} serve`, or name another: `{called} generate "
            f"ws://host:port …`, or ${URL_VARIABLE}"
        ) from error
