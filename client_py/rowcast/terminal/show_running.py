"""`rowcast ps`: what a server draws at the moment."""

from __future__ import annotations

from typing import Final
from urllib.parse import urljoin, urlsplit

import msgspec

from ..errors import ProtocolError
from ..messages import Welcome
from ..pixels.http_client import read
from ..sync import connect
from .parsers import JSON, CommandParser, command_parser
from .servers import add_server_options, asking, client_arguments, settle_server
from .text import answer, answer_json, open_console, warnings_shown

PATH: Final = "pictures"


class Drawing(msgspec.Struct):
    """A picture that is drawn."""

    rows: int
    stop_row: int
    seconds: float


class Replica(msgspec.Struct):
    """An engine of a cluster."""

    name: str
    revision: str
    drawing: int
    waiting: int
    slots: int
    places: int


class Running(msgspec.Struct, omit_defaults=True):
    """What a server does, as R-127 has it."""

    slots: int
    places: int
    waiting: int
    drawing: list[Drawing]
    replicas: list[Replica] = []


def ps(words: list[str]) -> int:
    """Show what a server draws at the moment, and how many pictures wait."""
    parser = ps_parser()
    options = parser.parse_anywhere(words)
    settle_server(parser, options)
    way = client_arguments(options)
    with (
        warnings_shown(open_console()),
        asking(options.url),
        connect(options.url, decode=False, **way) as client,
    ):
        welcome = client.session.welcome
        address = _address(welcome, options.url)
        body = read(address, options.url, **way)
    try:
        running = msgspec.json.decode(body, type=Running)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"what the server draws cannot be read: {error}") from error
    model = welcome.models[0]
    if options.json:
        told = msgspec.to_builtins(running)
        answer_json({"model": model.name, "revision": model.revision.hex(), **told})
        return 0
    answer(
        f"{model.name}, revision {model.revision.hex()}: {len(running.drawing)} of "
        f"{running.slots} slots draw, {running.waiting} of {running.places} places in the queue "
        "are taken"
    )
    for replica in running.replicas:
        answer(
            f"  replica {replica.name}, revision {replica.revision}: {replica.drawing} of "
            f"{replica.slots} slots draw, {replica.waiting} of {replica.places} places are taken"
        )
    for each in running.drawing:
        answer(f"  row {each.rows} of {each.stop_row}, drawn for {each.seconds:.1f} s")
    return 0


def ps_parser() -> CommandParser:
    """The options of `rowcast ps`."""
    parser = command_parser(
        "ps",
        "Show what a server draws at the moment, a line for each picture, the oldest first, and "
        "how many wait; of a cluster, its replicas too. Whose they are and what of, it tells nobody; where it asks for a token, "
        "one that may watch is needed.",
        "",
        "ws://127.0.0.1:8765 --json",
    )
    add_server_options(parser)
    parser.add_argument(JSON, action="store_true", help="say it as one line of JSON on stdout")
    return parser


def _address(welcome: Welcome, server_url: str) -> str:
    """Beside the files, if those are the server's own (R-127)."""
    beside_socket = urljoin("http" + server_url.removeprefix("ws"), PATH)
    for file in welcome.models[0].files:
        beside_file = urljoin(urljoin(beside_socket, file.url), f"../{PATH}")
        if urlsplit(beside_file).hostname == urlsplit(server_url).hostname:
            return beside_file
    return beside_socket
