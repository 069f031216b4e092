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
from typing import IO, TYPE_CHECKING, Any, Final, cast
from unicodedata import category

from .exit_codes import READER_GONE

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


class ReaderGone(SystemExit):
    """Nobody reads the output any more: the program ends without a word."""

    def __init__(self) -> None:
        super().__init__(READER_GONE)


def complain(text: str) -> None:
    """Print a line on stderr, if anybody reads it."""
    if sys.stderr is not None:  # else `print` would take stdout
        with contextlib.suppress(OSError):
            print(plain(text), file=sys.stderr, flush=True)


def answer(text: str) -> None:
    """Print a line on stdout: what was asked for. Raises ReaderGone, or OSError on a full disk."""
    answer_as_it_is(plain(text))


def answer_as_it_is(text: str) -> None:
    """Print text of our own on stdout: a script. Raises as `answer`."""
    try:
        print(text, flush=True)
    except BrokenPipeError as error:
        raise ReaderGone from error


def answer_json(report: object) -> None:
    """Print one line of JSON on stdout, in ASCII. Raises as `answer`."""
    answer(json.dumps(report))


def open_console(stderr: bool = True) -> Console:
    """A rich console on stderr, or on stdout, that goes on where nobody reads it.

    Where it cannot be written neither: the terminal was closed, or the disk behind it is full.
    """
    from rich.console import Console

    class Patient(Console):
        @property  # type: ignore[misc]  # read only: nobody sets it
        def file(self) -> IO[str]:
            return cast("IO[str]", _Unread(super().file))

        def on_broken_pipe(self) -> None:  # by default the program ends, pictures and all
            self.quiet = True

    return Patient(stderr=stderr, highlight=False, markup=False, emoji=False)


class _Unread:
    """A stream on which whatever keeps a text from being written is a broken pipe."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            raise BrokenPipeError(*error.args) from error

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise BrokenPipeError(*error.args) from error


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
    """Says what is new: of many pictures, each would tell that the server is busy."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console
        self._last = ""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text != self._last:
            self._last = text
            say(self._console, f"rowcast: {text}")
