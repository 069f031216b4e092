"""The metadata of a detokenizer file, which a stranger wrote, and a graph that paints anything."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rowcast.errors import DetokenizerError
from rowcast.pixels import detokenizer
from rowcast.pixels.detokenizer import Detokenizer

from tests.fuzz.mutation import worded
from tests.fuzz.target import Target, told

SIDE: Final = 2  # pixels of a token, as the graph paints
MOST_IDS: Final = 4_096
VALUE: Final = re.compile(r"(: |is )['\"].*")
KEYS: Final = ("format", "kind", "precision", "codebook_size", "pixels_per_token", "self_test")
WORDS: Final = (
    *(f"rowcast.{key}\0".encode() for key in KEYS), b"\0", b"rows", b"cols", b"ids", b"thumbnail",
    b"tolerance", b"thumbnail_side", b"0", b"1", b"2", b"4", b"-1", b"1e999", b"NaN", b"9" * 30,
    b"9" * 5_000, b"1_0", b"\xd9\xa3", b"null", b"true", b'"4"', b"[", b"]", b"[" * 3_000, b"{",
    b"}", b",", b":", b"[]", b"{}", b"[[1],[1,2]]", b"0.5", b"full", b"preview", b"fp16", b" ",
    b"\n", b"\\ud800", b"100000", b"2147483648", b"9223372036854775808",
)  # fmt: skip


class Session:
    """A graph: ``kind`` is what it paints."""

    def __init__(self, kind: int) -> None:
        self.kind = kind

    def run(self, grid: NDArray[np.int64]) -> Any:
        if grid.size > MOST_IDS:
            raise RuntimeError("this graph takes fewer ids")
        batch, rows, cols = grid.shape
        shape = batch, 3, rows * SIDE, cols * SIDE
        match self.kind:
            case 0:
                return np.full(shape, np.nan, np.float32)
            case 1:
                return np.full(shape[:3], 0.5, np.float32)
            case 2:
                return np.full(shape, 1e30, np.float32)
            case 3:
                return np.full((batch, 1, *shape[2:]), 0.5, np.float32)
        return np.full(shape, 0.5, np.float32)


@contextmanager
def opened(session: Session, metadata: dict[str, str]) -> Iterator[None]:
    """Have every file be this graph with this metadata."""
    names = vars(detokenizer)
    before = names["open_file"], names["run"]
    names["open_file"], names["run"] = lambda *_: (session, metadata), Session.run
    try:
        yield
    finally:
        names["open_file"], names["run"] = before


def read(data: bytes) -> str:
    """The first byte chooses the graph; keys and values follow, apart by zeros."""
    session = Session(data[0] % 8 if data else 7)
    words = data[1:].decode("utf-8", "replace").split("\0")
    metadata = dict(zip(words[::2], words[1::2], strict=False))
    try:
        with opened(session, metadata):
            loaded = Detokenizer(b"", name="a file")
    except DetokenizerError as error:
        return VALUE.sub("", told(error))
    assert isinstance(loaded.path, Path)
    assert metadata["rowcast.format"] == "1"
    test = json.loads(metadata["rowcast.self_test"])
    assert loaded.pixels_per_token == SIDE, loaded.pixels_per_token
    assert np.array(test["ids"]).size == int(test["rows"]) * int(test["cols"])
    return f"{loaded.kind == 'full'} {session.kind}"


def seeds() -> list[bytes]:
    test = {
        "rows": 2, "cols": 2, "ids": [0, 1, 2, 3], "thumbnail_side": 2,
        "thumbnail": [127] * 12, "tolerance": 2.0,
    }  # fmt: skip
    values = ("1", "full", "fp32", "96", str(SIDE), json.dumps(test))
    whole = [
        part for key, value in zip(KEYS, values, strict=True) for part in (f"rowcast.{key}", value)
    ]
    entries = "\0".join(whole).encode()
    return [bytes([kind]) + entries for kind in (0, 1, 2, 3, 7, 7, 7, 7)]


TARGETS: Final = {"metadata": Target(read, seeds, worded(*WORDS))}
