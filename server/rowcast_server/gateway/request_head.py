"""The head of a request, read strictly, before a library is given the connection.

What the grammar of RFC 9112 lets pass for old peers' sake is refused here: it is by such things
that two programs read one request as two (request smuggling). The libraries read the head again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

MAX_HEAD_BYTES: Final = 16_384
# Of every answer: any page may read it, also an isolated one (COEP: require-corp).
SHARED_HEADERS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Accept-Ranges, Content-Encoding, Content-Length, "
    "Content-Range, ETag, Retry-After",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Timing-Allow-Origin": "*",
    "X-Content-Type-Options": "nosniff",
}
END: Final = b"\r\n\r\n"
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 section 5.6.2
# Section 3: the target in origin form alone. Section 5: no folded lines, no space before the colon.
_LINE: Final = re.compile(rb"(" + _TOKEN + rb") (/[\x21-\x7e]*) HTTP/1\.([01])\r\n")
_FIELD: Final = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\x20-\x7e\x80-\xff\t]*?)[ \t]*\r\n")
_ONCE: Final = ("host", "origin", "authorization", "upgrade", "content-length")


class RequestRefused(Exception):
    """A request that is answered by a status of HTTP (R-123) and closed; ``text`` is for people.

    ``retry_after`` is in seconds; 0: asking again will not help.
    """

    def __init__(self, status: HTTPStatus, text: str, retry_after: int = 0) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.retry_after = retry_after

    @property
    def fields(self) -> dict[str, str]:
        """The fields that the answer has for its status."""
        fields = {"Cache-Control": "no-store"}
        if self.retry_after:
            fields["Retry-After"] = str(self.retry_after)
        if self.status == HTTPStatus.UNAUTHORIZED:
            fields["WWW-Authenticate"] = 'Bearer realm="rowcast"'
        return fields

    def response(self) -> bytes:
        """The whole answer, after which the connection closes."""
        body = f"{self.text}\n".encode()
        fields = (
            self.fields
            | SHARED_HEADERS
            | {
                "Connection": "close",
                "Content-Type": "text/plain; charset=utf-8",
                "Content-Length": str(len(body)),
            }
        )
        lines = [f"HTTP/1.1 {self.status.value} {self.status.phrase}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        return "\r\n".join(lines).encode() + END + body


@dataclass(frozen=True)
class RequestHead:
    """Method, target and fields of a request; the names of fields in small letters."""

    method: str
    target: str
    fields: dict[str, str]

    @property
    def is_websocket(self) -> bool:
        """True if it asks for a WebSocket (RFC 6455 section 4.1)."""
        return self.fields.get("upgrade", "").lower() == "websocket"


def joined(found: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Fields by their names in small letters; several of one name are a list (RFC 9110 section
    5.3). Raises RequestRefused for two of a kind that there is but one of."""
    fields: dict[str, str] = {}
    for name, value in found:
        name = name.lower()
        if name in fields and name in _ONCE:
            raise RequestRefused(HTTPStatus.BAD_REQUEST, f"there are two {name} fields")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def read_head(head: bytes) -> RequestHead:
    """Read a request's head, its empty line included. Raises RequestRefused."""
    line = _LINE.match(head)
    if line is None:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "this is no request of HTTP/1.1")
    found = []
    at = line.end()
    while field := _FIELD.match(head, at):
        found.append((field[1].decode("ascii"), field[2].decode("latin-1")))
        at = field.end()
    if head[at:] != b"\r\n":
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "a field of this request is malformed")
    fields = joined(found)
    if "host" not in fields and line[3] == b"1":
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "there is no Host field")
    if "transfer-encoding" in fields or fields.get("content-length", "0") != "0":
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "a request here has no body")
    asked = RequestHead(line[1].decode(), line[2].decode(), fields)
    if "upgrade" in fields and not (asked.is_websocket and asked.method == "GET"):
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "only a GET may be upgraded, to a WebSocket")
    if asked.is_websocket and line[3] != b"1":
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "a WebSocket is opened by HTTP/1.1")
    return asked
