"""The server that the kit plays before a client: what it announces, and the ids that it draws."""

from __future__ import annotations

import hashlib
from typing import Any, Final

CODES: Final = 96
PALETTE_SIDE: Final = 1


def palette() -> bytes:
    """A palette (R-84): one pixel a code."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({CODES}, 1, 1, 3), }}"
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    pixels = bytes(each % 256 for code in range(CODES) for each in (code, 2 * code, 255 - code))
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + pixels


FILES: Final = {"/files/palette.npy": palette()}
WELCOME: Final[dict[str, Any]] = {
    "limits": {
        "client_frame_bytes": 4_096,
        "prompt_bytes": 2_000,
        "images": 64,
        "streams": 256,
        "grace_ms": 30_000,
        "keep_ms": 300_000,
    },
    "models": [
        {
            "name": "tiny",
            "revision": b"revision",
            "rows": 4,
            "cols": 4,
            "pixels_per_token": 4,
            "codebook_size": CODES,
            "id_bytes": 2,
            "sampling": {
                "temperature": {"default": 1.0, "low": 0.01, "high": 10.0},
                "top_k": {"default": 32, "low": 0, "high": CODES},
                "top_p": {"default": 1.0, "low": 0.01, "high": 1.0},
                "guidance": {"default": 4.0, "low": 0.0, "high": 64.0},
            },
            "files": [],
        }
    ],
}
# Fields of an answer where a step does not state them.
ANSWERS: Final[dict[str, dict[str, Any]]] = {
    "accepted": {
        "stream": "=stream",
        "image": 0,
        "model": "=model.name",
        "revision": "=model.revision",
        "rows": "=model.rows",
        "cols": "=model.cols",
        "id_bytes": "=model.id_bytes",
        "first_row": 0,
        "position": 0,
    },
    "queued": {"stream": "=stream"},
    "rows": {"stream": "=stream", "first_row": 0},
    "done": {"stream": "=stream", "rows": "=rows", "milliseconds": 5, "reason": 0},
    "error": {"stream": "=stream", "retry_ms": 0, "text": "a text for people"},
}


def ids_of(model: dict[str, Any], first: int, last: int, image: int = 0) -> bytes:
    """The ids of rows ``first`` … ``last`` - 1 as they are on the wire; no two rows are alike."""
    cols, width, codes = model["cols"], model["id_bytes"], model["codebook_size"]
    return b"".join(
        ((8 * image + cols * row + col) % codes).to_bytes(width, "little")
        for row in range(first, last)
        for col in range(cols)
    )


def file_of(path: str) -> dict[str, Any]:
    """The announcement of a file that the kit has."""
    data = FILES[path]
    return {
        "kind": "palette",
        "precision": "uint8",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).digest(),
        "url": path,
    }
