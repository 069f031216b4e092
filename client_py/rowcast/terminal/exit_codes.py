"""Exit codes of all commands, and what ends a command as a code and a sentence for people.

=========== === =========================================================================
DONE          0 all that was asked for is there
FAILED        1 it is not; stderr says why
USAGE         2 wrong words: an option that there is not, a value that no server accepts
HUNG_UP     129 SIGHUP: the terminal was closed; what had arrived is saved
INTERRUPTED 130 Ctrl-C, as a shell reports it; what had arrived is saved
READER_GONE 141 nobody reads the output any more (``rowcast --help | true``)
TERMINATED  143 SIGTERM, as a shell reports it; what had arrived is saved
=========== === =========================================================================
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ..errors import BeyondLimits, InvalidRequest, RowcastError

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
HUNG_UP: Final = 129
INTERRUPTED: Final = 130
READER_GONE: Final = 141
TERMINATED: Final = 143

# The library's words for arguments, and the options that are typed for them.
AS_TYPED: Final = (
    (
        re.compile(r"(?:^|(?<=: ))([a-z]+(?:_[a-z]+)*)(?= must be )"),
        lambda found: as_option(found[1]),
    ),
    (re.compile(r"\btoken="), lambda _: "--token"),
    (
        re.compile(r"is no valid text: .*"),
        r"\g<0>; set LC_ALL or LANG to the encoding of the terminal, such as C.UTF-8",
    ),
    (re.compile(r"allowed_hosts=\['?([^']*)'?\] \(--allow-host\)"), r"--allow-host \1"),
    (re.compile(r"choose the row to draw on from"), "choose the row to draw on from with --row"),
)


class Terminated(KeyboardInterrupt):
    """SIGTERM, or SIGHUP (the terminal was closed): it is answered as Ctrl-C is."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number


@contextmanager
def raising_terminated() -> Iterator[None]:
    """Raise Terminated on SIGTERM and SIGHUP, unless they are ignored (nohup) or answered.

    By default they end a program at once: what had arrived would be lost. Python answers signals
    in its main thread alone, and Windows has no SIGHUP.
    """

    def leave(number: int, frame: object) -> None:
        raise Terminated(number)

    is_main = threading.current_thread() is threading.main_thread()
    numbers = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP") if is_main]
    ours = [each for each in numbers if each and signal.getsignal(each) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def deaf_once() -> Iterator[None]:
    """Within it the first signal that would stop the command does not: all is done but the report.

    The next one does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    before = {number: signal.getsignal(number) for number in numbers if number}

    def restore(*_: object) -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, restore)
    try:
        yield
    finally:
        restore()


def stop_at_eof() -> None:
    """Wait for the end of standard input, then stop this process as SIGTERM does.

    For a thread of a program that is to end with the one that started it.
    """
    while os.read(0, 4_096):  # not sys.stdin, whose lock a thread must not hold at the end
        pass
    if hasattr(signal, "pthread_kill"):  # to the thread that waits: another would not wake it
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:  # Windows
        os.kill(os.getpid(), signal.SIGTERM)


def as_option(name: str) -> str:
    """The option of an argument: ``stop_row`` is ``--stop-row``."""
    return f"--{name.replace('_', '-')}"


def failure(error: BaseException) -> tuple[int, str]:
    """The exit code and the words of what ended a command, with options as they are typed.

    Raises the error itself where it is none that a user could do anything about.
    """
    match error:
        case Terminated():
            return error.code, str(error)
        case KeyboardInterrupt():
            return INTERRUPTED, "stopped"
        case RowcastError():
            text = str(error)
            for pattern, typed in AS_TYPED:
                text = pattern.sub(typed, text)
            is_wrong = isinstance(error, InvalidRequest) and not isinstance(error, BeyondLimits)
            return (USAGE if is_wrong else FAILED), text
        case OSError():
            words = error.strerror or str(error) or type(error).__name__
            return FAILED, f"{error.filename}: {words}" if error.filename else str(error) or words
    if _was_ctrl_c(error):
        return INTERRUPTED, "stopped"
    raise error


def _was_ctrl_c(error: BaseException) -> bool:
    """True if Ctrl-C came within what failed: imports tell it in words of their own."""
    causes: list[BaseException] = [error]
    for each in causes:
        causes += [one for one in (each.__cause__, each.__context__) if one and one not in causes]
    return any(isinstance(each, KeyboardInterrupt) for each in causes)
