"""`python -m rowcast`, and the script `rowcast`.

Imports next to nothing before Ctrl-C and the standard streams are seen to: modules that are cut off
while they load tell it in tracebacks, and a stream may be closed, of a narrow encoding, or unread.
"""

from __future__ import annotations

import io
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

STREAMS = (0, 1, 2)
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def main() -> int | str | None:
    """Run `rowcast` with the words of the command line; returns its exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is to be ignored
        signal.signal(signal.SIGINT, _leave)
    for number in ENDING if "--json" in sys.argv else ():  # else they end it as they do
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _leave)
    _open_streams()
    from .cli import main as command
    from .terminal.exit_codes import READER_GONE

    code: int | str | None
    try:
        code = command(ready=_let_signals_be)
    except SystemExit as leaving:
        code = leaving.code
    except OSError as error:  # of the output: any other was told, with what it is of
        code = _cannot_write(error)
    for stream in (sys.stdout, sys.stderr):
        code = _flush(stream, code, READER_GONE)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the interpreter's own end traces it too
    return code


def _leave(number: int, frame: object) -> None:
    """End at once: nothing is begun that would have to be cleared up."""
    by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
    os.write(2, f"\nrowcast: stopped{by}\n".encode())
    if "--json" in sys.argv:
        os.write(1, f'{{"error": "stopped{by}"}}\n'.encode())
    os._exit(128 + number)  # as exit_codes has it, which may not be loaded yet


def _let_signals_be() -> None:
    """Ctrl-C raises; the others are what the command makes of them."""
    for number in (signal.SIGINT, *ENDING):
        if signal.getsignal(number) is _leave:
            is_ctrl_c = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_ctrl_c else signal.SIG_DFL)


def _open_streams() -> None:
    """Open what is closed on nowhere, and have characters that a stream has not replaced.

    A number that is free would go to the next file or socket opened, and a library's warnings,
    which are written to the number 2, into it.
    """
    for number in STREAMS:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            os.set_inheritable(number, True)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # and not what an editor shows it in
            stream.reconfigure(errors="replace")


def _flush(stream: TextIO, code: int | str | None, reader_gone: int) -> int | str | None:
    """Write what is left; returns the exit code, another one where it cannot be written."""
    try:
        stream.flush()
        return code
    except BrokenPipeError:
        code = reader_gone if stream is sys.stdout else code
    except OSError as error:
        code = code or _cannot_write(error)  # else it was told
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # the interpreter flushes again
    return code


def _cannot_write(error: OSError) -> int:
    os.write(2, f"rowcast: the output cannot be written: {error.strerror}\n".encode())
    return 1  # exit_codes.FAILED


if __name__ == "__main__":
    sys.exit(main())
