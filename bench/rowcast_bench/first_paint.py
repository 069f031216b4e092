"""`rowcast bench first-paint`: from the bytes of a row's frame to an event whose image shows it.

The client's own session, painter and palette, without a socket: what a viewer waits for once a
frame has arrived. The rows are random, of DALL·E Mini's size unless told otherwise.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rowcast.events import RowsArrived
from rowcast.messages import (
    Accepted,
    DetokenizerFile,
    Done,
    DoneReason,
    Limits,
    Model,
    Range,
    Rows,
    SamplingRanges,
    Welcome,
    encode,
)
from rowcast.pixels.artifacts import cached_path
from rowcast.pixels.easel import Easel
from rowcast.pixels.loader import TierLoader
from rowcast.requests import Request
from rowcast.session import ClientSession

from .progress import Progress

CODES: Final = 16_384
ROWS: Final = 16
PIXELS_PER_TOKEN: Final = 16
CELLS: Final = 4  # pixels of a code in the palette, each way
WARM_UP_PICTURES: Final = 3
PICTURES: Final = 200
NOWHERE: Final = "ws://127.0.0.1:1"  # nothing is asked for there


@dataclass(frozen=True)
class FirstPaint:
    """From a row's frame to an image of ``side`` x ``side`` pixels, in milliseconds.

    Time of the thread that does it: what else runs on the machine is not counted.
    """

    p50_ms: float
    p99_ms: float
    side: int


def run(pictures: int, console: Console) -> dict[str, Any]:
    """Measure with a random palette; returns the figures."""
    stage = f"{pictures:,} pictures"
    with Progress(console, [stage]) as progress:
        progress.stage(stage, pictures)
        palette = random_palette()
        found = measure(palette, CODES, PIXELS_PER_TOKEN, pictures, progress.advance)
    console.print(
        f"from the bytes of a row of {ROWS} ids to an image of {found.side} x {found.side} pixels: "
        f"{found.p50_ms:.3f} ms (median), {found.p99_ms:.3f} ms (p99); the palette of {CODES:,} "
        f"codes has {len(palette):,} bytes",
        highlight=False,
    )
    return {
        "pictures": pictures,
        "codes": CODES,
        "side": found.side,
        "first_paint_ms_p50": round(found.p50_ms, 3),
        "first_paint_ms_p99": round(found.p99_ms, 3),
        "palette_bytes": len(palette),
    }


def random_palette(codes: int = CODES, cells: int = CELLS) -> bytes:
    """A palette file of random colours."""
    file = io.BytesIO()
    colours = np.random.default_rng(0).integers(0, 256, (codes, cells, cells, 3), np.uint8)
    np.lib.format.write_array(file, colours, version=(1, 0))
    return file.getvalue()


def measure(
    palette: bytes,
    codes: int,
    pixels_per_token: int,
    pictures: int,
    advance: Callable[[], object] = lambda: None,
) -> FirstPaint:
    """Times over ``pictures`` of random ids; ``advance`` is called with each."""
    with tempfile.TemporaryDirectory() as folder:
        file = _kept(palette, Path(folder))
        model = _model(file, codes, pixels_per_token)
        painter = TierLoader(NOWHERE, Path(folder), quality="palette")
        painter.load(model)
        session = ClientSession()
        session.hello()
        session.receive(encode(Welcome(Limits(4_096, 2_000, 64, 256, 30_000, 300_000), [model])))
        random = np.random.default_rng(0)
        taken: list[float] = []
        for number in range(WARM_UP_PICTURES + pictures):
            grid = random.integers(0, codes, (ROWS, ROWS)).astype("<u2")
            times = _paint(session, painter, model, grid.tobytes())
            if number >= WARM_UP_PICTURES:
                taken += times
                advance()
        painter.close()
    p50, p99 = (1e3 * float(np.percentile(taken, share)) for share in (50, 99))
    return FirstPaint(p50, p99, ROWS * pixels_per_token)


def _paint(session: ClientSession, painter: TierLoader, model: Model, ids: bytes) -> list[float]:
    """One picture from its start to its end: seconds of each row."""
    generation, _ = session.start(Request("random"))
    easel = Easel(generation, painter, False, lambda: None)
    [slot] = generation.slots
    size = ROWS * model.pixels_per_token
    session.receive(encode(_accepted(slot.stream, model)))
    while easel.next_event() is not None:
        pass
    taken = []
    row_bytes = len(ids) // ROWS
    for row in range(ROWS):
        frame = encode(Rows(slot.stream, row, ids[row * row_bytes : (row + 1) * row_bytes]))
        begun = time.thread_time()
        session.receive(frame)
        event = easel.next_event()
        taken.append(time.thread_time() - begun)
        assert isinstance(event, RowsArrived)
        assert event.image is not None
        assert event.image.size == (size, size)
    session.receive(encode(Done(slot.stream, ROWS, zlib.crc32(ids), 0, DoneReason.COMPLETE)))
    easel.close()
    return taken


def _accepted(stream: int, model: Model) -> Accepted:
    return Accepted(
        stream,
        image=0,
        model=model.name,
        revision=model.revision,
        seed=0,
        rows=model.rows,
        cols=model.cols,
        id_bytes=model.id_bytes,
        first_row=0,
        position=0,
    )


def _kept(palette: bytes, cache: Path) -> DetokenizerFile:
    """The palette as a file that a client has fetched already."""
    digest = hashlib.sha256(palette).digest()
    cached_path(digest, cache, "palette").write_bytes(palette)
    return DetokenizerFile("palette", "uint8", len(palette), digest, f"{NOWHERE}/palette.npy")


def _model(file: DetokenizerFile, codes: int, pixels_per_token: int) -> Model:
    ranges = SamplingRanges(
        temperature=Range(1.0, 0.01, 10.0),
        top_k=Range(0, 0, codes),
        top_p=Range(1.0, 0.01, 1.0),
        guidance=Range(1.0, 0.0, 64.0),
    )
    revision = bytes(8)
    return Model("random", revision, ROWS, ROWS, pixels_per_token, codes, 2, ranges, [file])
