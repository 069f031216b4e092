"""Exit codes of the commands, beside 0 (done), 1 (failed, told on stderr) and 2 (usage)."""

from __future__ import annotations

from typing import Final

INTERRUPTED: Final = 130  # by Ctrl-C, as a shell reports it


def failure(error: BaseException) -> tuple[int, str]:
    """The exit code and the words of what ended a command that had begun its work."""
    return (INTERRUPTED, "stopped") if isinstance(error, KeyboardInterrupt) else (1, str(error))
