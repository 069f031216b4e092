"""Share links: pictures to watch, in one line that holds nothing secret of their owner's.

The form is in protocol.md, section 12.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from .errors import InvalidRequest
from .messages import KEY_BYTES, MAX_STREAM

SERVER: Final = r"wss?://[A-Za-z0-9.:\[\]-]+(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?"
LINK: Final = re.compile(rf"rowcast:({SERVER})#([0-9a-f]{{32}})/([0-9]{{1,5}})(?:-([0-9]{{1,5}}))?")


@dataclass(frozen=True)
class ShareLink:
    """Pictures ``first_image`` … ``last_image`` under a view key at a server (R-115); as text, the
    link.

    ``server`` is the URL of its WebSocket, without user and query. Raises InvalidRequest for what
    no link can hold.
    """

    server: str
    view_key: bytes
    first_image: int = 0
    last_image: int | None = None  # the same as the first

    def __post_init__(self) -> None:
        if self.last_image is None:
            object.__setattr__(self, "last_image", self.first_image)
        if len(self.view_key) != KEY_BYTES:
            raise InvalidRequest(f"view_key must be {KEY_BYTES} bytes, not {len(self.view_key)}")
        if not LINK.fullmatch(str(self)):
            raise InvalidRequest(
                "server must be what a share link can hold: ws:// or wss://, a host, perhaps a "
                "port and a path, without user, password and query"
            )
        if not self.first_image <= self._last <= MAX_STREAM:
            raise InvalidRequest(
                f"last_image must be from first_image to {MAX_STREAM}, not {self._last}"
            )

    @property
    def images(self) -> int:
        """How many pictures it names."""
        return self._last - self.first_image + 1

    @classmethod
    def parse(cls, link: str) -> ShareLink:
        """Read a link. Raises InvalidRequest for what is none (R-116)."""
        found = LINK.fullmatch(link)
        if found is None:
            raise InvalidRequest("link must be as rowcast:wss://host/#KEY/0")
        server, key, first, last = found.groups()
        return cls(server, bytes.fromhex(key), int(first), int(first if last is None else last))

    def __str__(self) -> str:
        last = "" if self._last == self.first_image else f"-{self._last}"
        return f"rowcast:{self.server}#{self.view_key.hex()}/{self.first_image}{last}"

    @property
    def _last(self) -> int:
        return self.first_image if self.last_image is None else self.last_image
