"""Codes of the wire: reasons of a picture's end, of a closed connection, of a refusal."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class DoneReason(IntEnum):
    """Reasons of a picture's end. A receiver takes a number it does not know for an end too.

    Printed as its name: ``complete``, ``stop_row``, ``cancelled``, ``deadline``, ``left``.
    """

    COMPLETE = 0
    STOP_ROW = 1
    CANCELLED = 2
    DEADLINE = 3
    LEFT = 4

    def __str__(self) -> str:
        return self.name.lower()

    def __format__(self, specification: str) -> str:
        return format(str(self), specification)


def done_reason(number: int) -> DoneReason | int:
    """The reason, or the bare number where it is newer than this program."""
    try:
        return DoneReason(number)
    except ValueError:
        return number


class CloseCode(IntEnum):
    """WebSocket close codes of this protocol (RFC 6455 section 7.4.2, private range)."""

    GOING_AWAY = 1001
    RESTART = 1012
    TRY_LATER = 1013
    MALFORMED = 4400
    BEFORE_HELLO = 4401
    BAD_TOKEN = 4403
    VERSION = 4406
    HELLO_TIMEOUT = 4408
    DUPLICATE_STREAM = 4409
    LIMIT = 4413
    TOKEN_EXPIRED = 4501
    TOO_SLOW = 4508
    RATE_LIMITED = 4529


def may_reconnect(code: int | None) -> bool:
    """True if a closed connection is worth taking up again (R-73, R-75); None is no close frame."""
    return code is None or not (code in (1000, 1009) or 4400 <= code < 4500)


class ErrorCode:
    """Codes of `error` (protocol.md section 6). Text, so that new ones need no new version."""

    BAD_PROMPT: Final = "bad_prompt"
    BAD_IMAGES: Final = "bad_images"
    BAD_SEED: Final = "bad_seed"
    BAD_SAMPLING: Final = "bad_sampling"
    BAD_STOP_ROW: Final = "bad_stop_row"
    BAD_PREFIX: Final = "bad_prefix"
    UNKNOWN_MODEL: Final = "unknown_model"
    WRONG_REVISION: Final = "wrong_revision"
    CONFLICT: Final = "conflict"
    GONE: Final = "gone"
    BUSY: Final = "busy"
    TOO_MANY_STREAMS: Final = "too_many_streams"
    INTERNAL: Final = "internal"
    FORBIDDEN: Final = "forbidden"
