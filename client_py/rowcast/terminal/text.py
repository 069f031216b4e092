"""Text for people: prompts, names and error texts of strangers, printed so that they stay text.

All that a command says goes through here. Nothing in it is taken for markup, for an escape sequence
or for an emoji's name; what a stream cannot encode, __main__.py has it replace. Where nobody reads
any more the work goes on: what is said is not what was asked for.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final
from unicodedata import category

if TYPE_CHECKING:
    from rich.console import Console

# Control characters, lone surrogates, separators of lines and paragraphs.
HARMFUL: Final = ("Cc", "Cs", "Zl", "Zp")
TURNING: Final = frozenset("\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def plain(text: str) -> str:
    """The text with all that is more than text written out: ESC as ``\\x1b``.

    Control characters (C0, C1; a line feed too), lone surrogates and characters that turn the
    direction of what follows (Unicode Standard Annex 9).
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        each.encode("unicode_escape", "surrogatepass").decode("ascii")
        if each in TURNING or category(each) in HARMFUL
        else each
        for each in text
    )


def complain(text: str) -> None:
    """One line on stderr."""
    _print(plain(text), sys.stderr)


def answer(text: str) -> None:
    """One line on stdout: what was asked for, where that is text."""
    _print(plain(text), sys.stdout)


def answer_json(report: object) -> None:
    """One line of JSON on stdout, in ASCII."""
    _print(json.dumps(report), sys.stdout)


def _print(text: str, stream: Any) -> None:
    """Print a line; without a stream (it was closed), or where nobody reads it, nothing."""
    if stream is not None:
        with contextlib.suppress(BrokenPipeError):  # __main__ sees it, once all is done
            print(text, file=stream, flush=True)


def open_console(stderr: bool = True) -> Console:
    """A rich console on stderr, or on stdout, that goes on where nobody reads it."""
    from rich.console import Console

    class Patient(Console):
        def on_broken_pipe(self) -> None:  # by default the program ends, pictures and all
            self.quiet = True

    return Patient(stderr=stderr, highlight=False, markup=False, emoji=False)


def say(console: Console, text: str) -> None:
    """Print a sentence as it is: unbroken, and in no other colours."""
    from rich.text import Text

    console.print(Text(plain(text)), soft_wrap=True)


@contextlib.contextmanager
def warnings_shown(console: Console) -> Iterator[None]:
    """Say what the library warns of (a link taken up again, a cache that cannot be written)."""
    handler = _Saying(console)
    logger = logging.getLogger("rowcast")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Saying(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):  # as `Handler.handleError` in production
            say(self._console, f"rowcast: {record.getMessage()}")
