"""What the two shells share of `websockets`: its settings, its errors in our words, the retries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import tenacity
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from .errors import ConnectionFailed, ConnectionLost
from .messages import MAX_WELCOME_BYTES, SUBPROTOCOL, may_reconnect
from .session import closed_text

LONGEST_WAIT_SECONDS: Final = 5.0


def websocket_arguments(open_timeout: float) -> dict[str, Any]:
    """Arguments of both `websockets` clients: bounded, uncompressed (ids do not compress)."""
    return {
        "subprotocols": [SUBPROTOCOL],
        "compression": None,
        "max_size": MAX_WELCOME_BYTES,
        "open_timeout": open_timeout,
        "close_timeout": 2,
        "proxy": None,
    }


def check_subprotocol(url: str, chosen: str | None) -> None:
    """Raises ConnectionFailed where the server did not agree to our subprotocol (R-1)."""
    if chosen != SUBPROTOCOL:
        raise ConnectionFailed(f"{url} speaks WebSocket, but not {SUBPROTOCOL}")


def frame_bytes(payload: int) -> int:
    """Bytes of a server's frame with its header (RFC 6455 section 5.2, unmasked)."""
    if payload < 126:
        return payload + 2
    return payload + (4 if payload < 65_536 else 10)


def reconnect_policy(seconds: float) -> dict[str, Any]:
    """tenacity's arguments: try for so many seconds, with jitter, as protocol.md asks (R-74)."""
    return {
        "stop": tenacity.stop_after_delay(seconds),
        "wait": tenacity.wait_random_exponential(multiplier=0.2, max=LONGEST_WAIT_SECONDS),
        "retry": tenacity.retry_if_exception(_worth_retrying),
        "reraise": True,
    }


@contextmanager
def connection_errors(url: str) -> Iterator[None]:
    """Everything that keeps a connection from opening, as ConnectionFailed."""
    try:
        yield
    except InvalidURI as error:
        raise ConnectionFailed(f"{url!r} is no WebSocket address; use ws://host:port") from error
    except InvalidStatus as error:
        raise ConnectionFailed(
            f"{url} is no Rowcast server: it answered with HTTP status "
            f"{error.response.status_code}; is this the http port?"
        ) from error
    except InvalidHandshake as error:
        raise ConnectionFailed(
            f"{url} is no Rowcast server, or is of another version: {error}"
        ) from error
    except ConnectionClosed as error:
        code, reason = _close_of(error)
        raise ConnectionFailed(f"{url}: {closed_text(code, reason)}", code) from error
    except TimeoutError as error:
        raise ConnectionFailed(f"{url} does not answer; is it a Rowcast server?") from error
    except (OSError, EOFError) as error:
        raise ConnectionFailed(
            f"nothing listens at {url} ({error}); is the server running, is the port right?"
        ) from error


def lost(closed: ConnectionClosed) -> tuple[ConnectionLost, bool]:
    """A connection that closed under forming pictures, and whether to reconnect."""
    code, reason = _close_of(closed)
    return ConnectionLost(closed_text(code, reason), code), may_reconnect(code)


def _close_of(closed: ConnectionClosed) -> tuple[int | None, str]:
    return (None, "") if closed.rcvd is None else (closed.rcvd.code, closed.rcvd.reason)


def _worth_retrying(error: BaseException) -> bool:
    return isinstance(error, ConnectionFailed) and may_reconnect(error.code)
