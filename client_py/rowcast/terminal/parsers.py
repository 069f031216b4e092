"""The parser of a command's words: `argparse`, whose complaints go where all others go.

Words of a command may stand in any order: ``generate URL --images 4 PROMPT``. With ``--json`` the
last line of stdout is JSON whatever was wrong, wrong words included.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from .exit_codes import USAGE
from .text import answer, complain

JSON: Final = "--json"


class WrongUsage(SystemExit):
    """Wrong words, which were told already; ``problem`` says what is wrong with them."""

    def __init__(self, problem: str) -> None:
        super().__init__(USAGE)
        self.problem = problem


class CommandParser(argparse.ArgumentParser):
    """The parser of one command. `error` raises WrongUsage."""

    def parse_anywhere(self, words: Sequence[str], record: Any = None) -> Any:
        """Parse all words into ``record``, positional ones wherever they stand."""
        return self.parse_intermixed_args(words, record)

    def print_help(self, file: Any = None) -> None:
        """Print the help on stdout, as all that is asked for."""
        for line in self.format_help().splitlines():
            answer(line)

    def error(self, message: str) -> NoReturn:
        """Tell how the command is used and what was wrong; raises WrongUsage."""
        self.print_usage(sys.stderr)
        complain(f"{self.prog}: error: {message}")
        raise WrongUsage(message)


def command_parser(command: str, description: str, *examples: str) -> CommandParser:
    """The parser of a command, without its options; ``examples`` are what follows its name."""
    return CommandParser(
        prog=f"rowcast {command}",
        description=description,
        epilog="\n  rowcast ".join(
            ["examples:", *(f"{command} {each}".strip() for each in examples)]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def minutes(text: str) -> float:
    """A number of minutes, above 0, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number > 0:
        raise argparse.ArgumentTypeError(f"a number above 0, not {text!r}")
    return number


def wants_json(words: Sequence[str]) -> bool:
    """True if a line of JSON is asked for."""
    return JSON in (words[: words.index("--")] if "--" in words else words)
