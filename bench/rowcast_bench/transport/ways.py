"""Ways of showing a picture while it forms, as data: what is sent, when, by which protocol."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

Pixels = NDArray[np.uint8]  # [height, width, 3]

POLL_SECONDS: Final = 0.5
SETTINGS: Final[dict[str, dict[str, Any]]] = {  # of Pillow, by format
    "JPEG": {"quality": 75},
    "WEBP": {"quality": 75},
    "PNG": {},
    "AVIF": {"quality": 60},
}


@dataclass(frozen=True)
class Way:
    """One way. ``protocol`` is tokens, websocket, sse or poll.

    With ``tokens`` the client decodes, by ``tier`` at best, with ``sse`` the gateway. Otherwise
    ``frames`` pictures are sent in ``format``, evenly over the rows; 0 is as many as are asked
    for. ``strips``: each holds its own rows alone. ``whole_grid``: the server decodes the whole
    grid for each, its last code in place of rows to come, as min-dalle does; otherwise the rows so
    far, some guessed below.
    """

    name: str
    label: str
    protocol: str
    frames: int = 0
    format: str = "JPEG"
    tier: str = ""
    strips: bool = False
    progressive: bool = False
    whole_grid: bool = False

    def is_from_tokens(self, is_decoded: bool) -> bool:
        """True if a rowcast server sends it: rows, or pictures by its gateway where they are those
        that the gallery's decoder paints."""
        return self.protocol == "tokens" or (self.protocol == "sse" and is_decoded)

    def held(self, rows: int) -> list[int]:
        """Rows that are there when each frame is made; of polls, whenever one may be."""
        every = rows // self.frames if self.frames else 1
        return [*range(every, rows + 1, every)]


ALL: Final = (
    Way("tokens_palette", "rows of tokens, palette", "tokens", tier="palette"),
    Way("tokens_preview", "rows of tokens, preview", "tokens", tier="preview"),
    Way("tokens_full", "rows of tokens, full decode at the end", "tokens", tier="full"),
    Way("jpeg_8", "8 JPEGs, min-dalle's way", "websocket", 8, whole_grid=True),
    Way("jpeg_16", "16 JPEGs, min-dalle's way", "websocket", 16, whole_grid=True),
    Way("webp_8", "8 WebP frames", "websocket", 8, "WEBP"),
    Way("png_8", "8 PNG frames", "websocket", 8, "PNG"),
    Way("avif_8", "8 AVIF frames", "websocket", 8, "AVIF"),
    Way("strips_16", "16 strips as JPEG", "websocket", 16, strips=True),
    Way("sse_3", "server-sent events, 3 partial JPEGs", "sse", 4, tier="full"),
    Way("jpeg_end", "one JPEG at the end", "websocket", 1),
    Way("progressive_end", "one progressive JPEG at the end", "websocket", 1, progressive=True),
    Way("poll", "the newest JPEG, polled every 500 ms", "poll"),
)


def usable_ways() -> list[Way]:
    """The ways that this Pillow can encode."""
    return [way for way in ALL if way.format != "AVIF" or features.check("avif")]


def encoded(pixels: Pixels, way: Way) -> bytes:
    """A picture in the way's format."""
    buffer = io.BytesIO()
    more = {"progressive": True} if way.progressive else {}
    Image.fromarray(pixels).save(buffer, way.format, **SETTINGS[way.format], **more)
    return buffer.getvalue()


def decoded(data: bytes) -> Pixels:
    """The pixels of a picture in any format."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))
