"""`rowcast bench first-paint`: from the bytes of a row's frame to an event whose image shows it.

The client's own session, painter and palette, without a socket: what a viewer waits for once a
frame has arrived. The rows are random, of DALL·E Mini's size.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from rich.console import Console
from rowcast.events import RowsArrived
from rowcast.messages import (
    Accepted,
    DetokenizerFile,
    Done,
    DoneReason,
    Limits,
    Model,
    Rows,
    Welcome,
    encode,
)
from rowcast.pixels.artifacts import cached_path
from rowcast.pixels.easel import Easel
from rowcast.pixels.loader import TierLoader
from rowcast.requests import Request
from rowcast.session import ClientSession
from rowcast_server.models.loading import load
from rowcast_server.models.sources import EMBEDDED
from rowcast_server.server import announce

from .progress import Progress

CODES: Final = 16_384
ROWS: Final = 16
SIDE: Final = 256  # pixels of a picture
CELLS: Final = 4  # pixels of a code in the palette, each way
WARM_UP_PICTURES: Final = 3
NOWHERE: Final = "ws://127.0.0.1:1"  # nothing is asked for there
REPORT: Final = """\
From the bytes of a row to an image of {side}x{side} pixels that shows it: {first_paint_ms_p50} ms
(99 % within {first_paint_ms_p99} ms), with a palette of {codes:,} codes of 4x4 pixels,
{palette_bytes:,} bytes."""


def run(console: Console, pictures: int) -> tuple[dict[str, Any], str]:
    """Measure with a random palette."""
    stage = f"{pictures:,} pictures"
    with Progress(console, [stage]) as progress:
        progress.stage(stage, pictures)
        palette = random_palette()
        p50, p99 = np.percentile(measure(palette, pictures, progress.advance), (50, 99))
    figures = {
        "pictures": pictures,
        "codes": CODES,
        "side": SIDE,
        "first_paint_ms_p50": round(1e3 * float(p50), 3),
        "first_paint_ms_p99": round(1e3 * float(p99), 3),
        "palette_bytes": len(palette),
    }
    return figures, REPORT.format(**figures)


def random_palette() -> bytes:
    """A palette file of random colours."""
    file = io.BytesIO()
    colours = np.random.default_rng(0).integers(0, 256, (CODES, CELLS, CELLS, 3), np.uint8)
    np.lib.format.write_array(file, colours, version=(1, 0))
    return file.getvalue()


def measure(
    palette: bytes, pictures: int, advance: Callable[[], object] = lambda: None
) -> list[float]:
    """Seconds of each row of ``pictures`` of random ids; ``advance`` is called with each picture.

    Time of the thread that does it: what else runs on the machine is not counted.
    """
    digest = hashlib.sha256(palette).digest()
    file = DetokenizerFile("palette", "uint8", len(palette), digest, f"{NOWHERE}/palette.npy")
    model = replace(
        announce(load(EMBEDDED)),
        codebook_size=CODES,
        pixels_per_token=SIDE // ROWS,
        files=[file],
    )
    random = np.random.default_rng(0)
    taken: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        cached_path(digest, Path(folder), "palette").write_bytes(palette)  # as if fetched before
        painter = TierLoader(NOWHERE, Path(folder), quality="palette")
        painter.load(model)
        session = ClientSession()
        session.hello()
        session.receive(encode(Welcome(Limits(4_096, 2_000, 64, 256, 30_000, 300_000), [model])))
        for number in range(WARM_UP_PICTURES + pictures):
            grid = random.integers(0, CODES, (ROWS, ROWS)).astype("<u2")
            times = _paint(session, painter, model, grid)
            if number >= WARM_UP_PICTURES:
                taken += times
                advance()
        painter.close()
    return taken


def _paint(
    session: ClientSession, painter: TierLoader, model: Model, grid: NDArray[np.uint16]
) -> list[float]:
    """One picture from its start to its end: seconds of each row."""
    generation, _ = session.start(Request("random"))
    easel = Easel(generation, painter, False, lambda: None)
    stream = generation.slots[0].stream
    session.receive(
        encode(Accepted(stream, 0, model.name, model.revision, 0, ROWS, ROWS, model.id_bytes, 0, 0))
    )
    while easel.next_event() is not None:
        pass
    taken = []
    for row, ids in enumerate(grid):
        frame = encode(Rows(stream, row, ids.tobytes()))
        begun = time.thread_time()
        session.receive(frame)
        event = easel.next_event()
        taken.append(time.thread_time() - begun)
        assert isinstance(event, RowsArrived)
        assert event.image is not None
        assert event.image.size == (SIDE, SIDE)
    crc = zlib.crc32(grid.tobytes())
    session.receive(encode(Done(stream, ROWS, crc, 0, DoneReason.COMPLETE)))
    easel.close()
    return taken
