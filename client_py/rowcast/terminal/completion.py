"""`rowcast completion`: a script that has a shell complete commands and options.

Written by shtab from the parsers: a shell that runs it does not start Python to complete a word.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from ..errors import RowcastError
from .install_hints import install_hint
from .parsers import CommandParser, command_parser
from .text import answer_as_it_is

GROUP: Final = "rowcast.commands"
SHELLS: Final = ("bash", "zsh", "fish", "tcsh", "powershell")
FOLDER, FILES = "DIR", ("FILE", "ONNX", "GRIDS")  # the metavars of what is completed from the disk


def completion(words: list[str]) -> int:
    """Print a script for your shell, which completes commands and options."""
    options = completion_parser().parse_anywhere(words)
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise RowcastError(f"needs {error.name}: {install_hint('completion')}") from error
    whole = whole_parser({FOLDER: shtab.DIRECTORY, **dict.fromkeys(FILES, shtab.FILE)})
    answer_as_it_is(shtab.complete(whole, options.shell))
    return 0


def completion_parser() -> CommandParser:
    """The options of `rowcast completion`."""
    parser = command_parser(
        "completion",
        "Print a script that has your shell complete the commands and their options. It knows "
        "those of the packages that are installed now.",
        "bash > ~/.local/share/bash-completion/completions/rowcast",
        "zsh > ~/.zfunc/_rowcast       (a folder of $fpath)",
    )
    parser.add_argument("shell", choices=SHELLS, help="your shell")
    return parser


def whole_parser(places: Mapping[str, object]) -> argparse.ArgumentParser:
    """The parsers of all commands as one. A command that cannot be loaded has no options.

    ``places`` are shtab's completions of files and folders, by metavar.
    """
    whole = argparse.ArgumentParser("rowcast")
    whole.add_argument("--version", action="store_true", help="the version")
    commands = whole.add_subparsers(metavar="COMMAND")
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        own = parser_of(point)
        for action in [] if own is None else own._actions:
            if place := places.get(str(action.metavar)):
                action.complete = place  # type: ignore[attr-defined]
        parents = [] if own is None else [own]
        about = "not installed" if own is None else own.description  # shtab wants one for zsh, fish
        commands.add_parser(point.name, parents=parents, add_help=own is None, help=about)
    return whole


def parser_of(point: EntryPoint) -> argparse.ArgumentParser | None:
    """The parser of a command: what ``<name>_parser`` beside it makes; None if it is missing."""
    try:
        command = point.load()
    except ModuleNotFoundError:
        return None
    make = getattr(sys.modules[command.__module__], f"{command.__name__}_parser", None)
    parser: argparse.ArgumentParser | None = None if make is None else make()
    return parser
