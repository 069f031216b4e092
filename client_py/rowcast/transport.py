"""The WebSocket of both shells: settings of `websockets`, its errors in our words, the waits."""

from __future__ import annotations

import logging
import random
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import tenacity
from websockets.asyncio.connection import Connection
from websockets.client import ClientProtocol
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    ProxyError,
)
from websockets.http11 import Response
from websockets.uri import parse_uri

from .errors import (
    ConnectionFailed,
    ConnectionLost,
    InvalidRequest,
    ProtocolError,
    RowcastError,
)
from .messages import MAX_WELCOME_BYTES, SUBPROTOCOL, CloseCode, may_reconnect

FIRST_WAIT_SECONDS: Final = 0.2
LONGEST_WAIT_SECONDS: Final = 5.0
READ_BYTES: Final = 4_096  # at a time: 2,000 of the shortest frames, some 20 ms
MOST_SAID: Final = 300  # characters of a server's refusal that are shown
MOST_REASON_BYTES: Final = 123  # RFC 6455 section 5.5
# The statuses of a refusal: the close code that means the same, and what to do.
REFUSALS: Final = {
    400: (None, "is it a Rowcast server, and is the port right?"),
    401: (CloseCode.BAD_TOKEN, "pass a valid token with token="),
    403: (None, "ask its operator"),
    421: (None, "ask its operator"),
    429: (CloseCode.RATE_LIMITED, "try again later"),
    503: (CloseCode.TRY_LATER, "try again later"),
}
# What `websockets` closes with by itself at a peer that breaks RFC 6455, or sends too much.
PEERS_FAULT: Final = (1002, 1007, 1009)


def check_url(url: str, shown: str) -> None:
    """Raise InvalidRequest for what is no WebSocket address; ``shown`` is ``url`` as it may be."""
    try:
        parse_uri(url)
    except (InvalidURI, ValueError):  # whose text shows the whole address
        raise InvalidRequest(
            f"the url {shown!r} is no WebSocket address; use ws://host:port, with a port to 65535"
        ) from None


def websocket_arguments(
    open_timeout: float | None, proxy: str | None, context: ssl.SSLContext | None
) -> dict[str, Any]:
    """Arguments of both `websockets` clients: bounded, uncompressed (ids do not compress).

    ``context`` is that of a ``wss`` address. Their log is kept at INFO: at DEBUG it would show the
    password of an address, and the token.
    """
    log = logging.getLogger(f"{__name__}.websockets")
    log.setLevel(logging.INFO)
    return {
        "subprotocols": [SUBPROTOCOL],
        "compression": None,
        "max_size": MAX_WELCOME_BYTES,
        "open_timeout": open_timeout,
        "close_timeout": 2,
        "proxy": proxy,
        "logger": log,
        **({} if context is None else {"ssl": context}),
    }


def check_peer(shown: str, url: str, socket: AnyConnection) -> None:
    """Raise ConnectionFailed where it is not the server at ``url``, or does not speak our
    subprotocol (R-1).

    `websockets` follows redirects: nobody but whom the user named is to get the token.
    """
    uri = socket.protocol.uri
    if uri != parse_uri(url):
        scheme = "wss" if uri.secure else "ws"
        raise ConnectionFailed(
            f"{shown} leads elsewhere: to {scheme}://{uri.host}:{uri.port}{uri.resource_name}; use "
            "that address if you trust it"
        )
    if socket.subprotocol != SUBPROTOCOL:
        raise ConnectionFailed(
            f"{shown} speaks WebSocket, but not {SUBPROTOCOL}; is it a Rowcast server?",
            CloseCode.VERSION,
        )


def closing(error: BaseException) -> tuple[int, str]:
    """Code and reason that a connection is closed with for an error (R-1, R-11).

    Whoever writes a server reads what it did wrong.
    """
    if isinstance(error, ConnectionFailed) and error.code == CloseCode.VERSION:
        return CloseCode.VERSION, ""
    if isinstance(error, ProtocolError):
        fault = error.fault or str(error)
        return error.close_code, fault.encode()[:MOST_REASON_BYTES].decode(errors="ignore")
    return 1000, ""


def frame_bytes(payload: int) -> int:
    """Bytes of a server's frame with its header (RFC 6455 section 5.2, unmasked)."""
    if payload < 126:
        return payload + 2
    return payload + (4 if payload < 65_536 else 10)


class AnyConnection(Protocol):
    """What both clients' connections of `websockets` have."""

    protocol: ClientProtocol

    @property
    def subprotocol(self) -> str | None: ...


class ReadsInPieces(Connection):
    """A connection of `websockets` whose frames are read a little at a time.

    It reads all frames of what the event loop hands it, up to 256 KiB, in one go: a peer that sends
    pings, each of which is answered, would hold up everything else for seconds.
    """

    _unread = b""

    def data_received(self, data: bytes) -> None:
        if not self._unread and len(data) <= READ_BYTES:
            self.feed(data)
            return
        self._unread += data
        self.transport.pause_reading()
        if len(self._unread) == len(data):  # else it is under way
            self._read_on()

    def eof_received(self) -> None:
        self.feed(self._unread)
        self._unread = b""
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unread = b""
        super().connection_lost(exc)

    def feed(self, data: bytes) -> None:
        """Read some bytes."""
        super().data_received(data)

    def _read_on(self) -> None:
        """Feed a piece; the loop's other work comes between this and the next."""
        if not self._unread:
            return  # the connection was lost meanwhile
        piece, self._unread = self._unread[:READ_BYTES], self._unread[READ_BYTES:]
        self.feed(piece)
        if self._unread:
            self.loop.call_soon(self._read_on)
        elif not self.recv_messages.paused and not self.transport.is_closing():
            self.transport.resume_reading()


class Patience:
    """Time to take up a broken link again: ``seconds``, renewed only by what arrives.

    Each wait is random, below a bound that begins at ``first_wait`` seconds, doubles with each
    attempt, and begins anew as the time does (R-74).
    """

    def __init__(
        self,
        seconds: float,
        first_wait: float = FIRST_WAIT_SECONDS,
        *,
        renews_token: bool = False,
    ) -> None:
        self.seconds = seconds
        self._renews_token = renews_token
        self._first_wait = self._bound = first_wait
        self._progress = -1
        self._until = float("-inf")

    def retries(self, progress: int) -> dict[str, Any] | None:
        """tenacity's arguments, with growing random waits; None once it is exhausted.

        ``progress`` is what has arrived so far. A link that breaks again before it brought
        anything new, or held for a while, does not renew the time.
        """
        now = time.monotonic()
        if progress != self._progress or now > self._until + self.seconds:
            self._progress, self._until = progress, now + self.seconds
            self._bound = self._first_wait
        if now >= self._until:
            return None
        return {
            "stop": tenacity.stop_after_delay(self._until - now),
            "wait": lambda _: self.wait(),
            "retry": tenacity.retry_if_exception(self.covers),
            "reraise": True,
        }

    def covers(self, error: BaseException) -> bool:
        """True if it is worth to come back after this: a token that has ended stays so, unless
        there is a fresh one each time.

        tenacity asks of every exception: who cancels, or presses Ctrl-C, wants no other attempt.
        """
        if not isinstance(error, ConnectionFailed):
            return False
        if error.code == CloseCode.TOKEN_EXPIRED and not self._renews_token:
            return False
        return may_reconnect(error.code)

    def wait(self) -> float:
        """Seconds before the next attempt, so that a server's clients do not come back as one."""
        left = max(0.0, self._until - time.monotonic())
        wait = min(random.uniform(0, self._bound), left)
        self._bound = min(2 * self._bound, LONGEST_WAIT_SECONDS)
        return wait


def given_up(cause: RowcastError, error: ConnectionFailed | ProtocolError) -> RowcastError:
    """The failure of pictures whose link broke by ``cause`` and could not be taken up again."""
    if isinstance(error, ConnectionFailed):
        return ConnectionLost(f"{cause}; reconnecting failed: {error}", error.code)
    return error


@contextmanager
def connection_errors(shown: str) -> Iterator[None]:
    """Raise whatever keeps a connection from opening as ConnectionFailed.

    ``shown`` is the address as it may be.
    """
    try:
        yield
    except RowcastError:
        raise
    except ssl.SSLCertVerificationError as error:  # which is a ValueError too
        raise ConnectionFailed(f"{shown} cannot be trusted: {untrusted(error)}") from error
    except ProxyError as error:
        raise ConnectionFailed(
            f"{shown} cannot be reached through the proxy ({error}); is its address right?"
        ) from error
    except (InvalidURI, ValueError):
        raise ConnectionFailed(
            f"{shown} leads to what is no WebSocket address; is it a Rowcast server?"
        ) from None
    except InvalidStatus as error:
        raise _refused(shown, error.response) from error
    except InvalidHandshake as error:
        raise ConnectionFailed(
            f"{shown} is no Rowcast server, or is of another version ({error}); is the port right?"
        ) from error
    except ConnectionClosed as error:
        failure, _ = lost(error)
        if isinstance(failure, ConnectionLost):
            raise ConnectionFailed(f"{shown}: {failure}", failure.code) from error
        raise failure from error
    except TimeoutError as error:
        raise ConnectionFailed(f"{shown} does not answer; is it a Rowcast server?") from error
    except (OSError, EOFError) as error:
        tls = ", does it speak TLS" if shown.startswith("wss:") else ""
        raise ConnectionFailed(
            f"{shown} cannot be reached ({error or 'the connection broke'}); "
            f"is the server running, is the port right{tls}?"
        ) from error


def _refused(shown: str, response: Response) -> ConnectionFailed:
    """The failure that an answer other than a WebSocket is (R-123)."""
    status = response.status_code
    said = (response.body or b"").decode(errors="replace").partition("\n")[0][:MOST_SAID]
    code, advice = REFUSALS.get(status, (None, ""))
    if advice:
        return ConnectionFailed(f"{shown} refused: {said or status}; {advice}", code)
    return ConnectionFailed(
        f"{shown} is no Rowcast server: it answered with HTTP status {status}; is the port right?"
    )


def without_user(url: str) -> str:
    """A URL without its user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def untrusted(error: BaseException) -> str:
    """The words of a certificate that cannot be verified, and what to do."""
    found = getattr(error, "verify_message", "") or str(error)
    return (
        f"its certificate is not accepted ({found}); if it is the right one, name its "
        "authority's file (PEM), or its own if it is self-signed, in SSL_CERT_FILE"
    )


def lost(closed: ConnectionClosed) -> tuple[RowcastError, bool]:
    """The error of a connection that closed under forming pictures, and True to reconnect."""
    code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (None, "")
    if closed.sent is not None and closed.sent.code in PEERS_FAULT and not closed.rcvd_then_sent:
        return ProtocolError(f"the server's frames cannot be read: {closed.sent.reason}"), False
    return ConnectionLost(closed_text(code, reason), code), may_reconnect(code)


def closed_text(code: int | None, reason: str) -> str:
    """The meaning of a closed connection to a caller, by its close code (protocol.md section 7)."""
    known = {
        CloseCode.BAD_TOKEN: "the server asks for a valid token; pass it with token=",
        CloseCode.TOKEN_EXPIRED: "the token has expired; connect with a fresh one, or with a "
        "function that gives one as token=",
        CloseCode.VERSION: "the server speaks another version of the protocol",
        CloseCode.TOO_SLOW: "the server closed the connection: this client read too slowly",
        CloseCode.LIMIT: "a message was larger than the server takes",
        CloseCode.RATE_LIMITED: "the server asks to slow down",
    }
    if code is None or code == 1006:
        return "the connection broke"
    text = next((text for one, text in known.items() if one == code), "the server closed it")
    return f"{text} (close code {code}{f': {reason}' if reason else ''})"
