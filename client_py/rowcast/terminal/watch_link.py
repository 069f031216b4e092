"""`rowcast watch`: pictures that somebody else draws, by a share link."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from ..errors import InvalidRequest
from ..share_link import ShareLink
from .draw_pictures import draw
from .options import DrawOptions, add_saving_options
from .parsers import JSON, CommandParser, command_parser
from .servers import TOKEN_VARIABLE, URL_VARIABLE, add_host_option, add_way_options
from .text import open_console, say


def watch(words: list[str]) -> int:
    """Watch pictures that somebody else draws, by a link."""
    parser = watch_parser()
    options: DrawOptions = parser.parse_anywhere(words, DrawOptions())
    try:
        link = ShareLink.parse(str(options.link))
    except InvalidRequest as error:
        parser.error(f"{error}; `rowcast generate --share` prints one")
    options.link, options.url = link, link.server
    options.prompts, options.sources, options.stop_row = [], [], None
    options.address_again = f"{link.server} "
    if options.token is None and os.environ.get(URL_VARIABLE) == link.server:
        options.token = os.environ.get(TOKEN_VARIABLE) or None  # it is for this server
    say(open_console(), f"watching at {urlsplit(link.server).hostname} ({link.server})")
    return draw(options)


def watch_parser() -> CommandParser:
    """The options of `rowcast watch`."""
    parser = command_parser(
        "watch",
        "Watch pictures form that somebody else draws, from their first row, and save them as "
        "`rowcast generate` does. The link names a server that somebody else chose: it gets a "
        f"token only by --token, or where ${URL_VARIABLE} is its address. Ctrl-C leaves; the "
        "pictures go on.",
        "'rowcast:ws://127.0.0.1:8765#28a8bd2fe1371aeda1f74be771dd0b93/0'",
    )
    parser.add_argument("link", help="a share link, in quotes")
    add_way_options(parser)
    add_saving_options(parser)
    add_host_option(parser)
    parser.add_argument(JSON, action="store_true", help="end with one line of JSON on stdout")
    return parser
