"""How soon a row is on the canvas: from its frame's bytes to an event with the image."""

from __future__ import annotations

import io
import statistics
import time

import numpy as np
import pytest
from msgspec.structs import replace
from rowcast.events import RowsArrived
from rowcast.messages import Rows, encode
from rowcast.pixels.loader import Painter
from rowcast.pixels.palette import Palette
from rowcast.pixels.tiers import DecoderTier

from tests.support.easels import Table
from tests.support.fake_server import MODEL, accepted

pytestmark = pytest.mark.parity

CODES, GRID, SIDE, CELLS = 16_384, 16, 16, 4
PICTURES = 50


def test_a_row_is_on_the_canvas_within_a_millisecond_of_its_bytes() -> None:
    """Of DALL-E Mini's size. In time of this thread: others may have the machine meanwhile."""
    random = np.random.default_rng(0)
    file = io.BytesIO()
    table = random.integers(0, 256, (CODES, CELLS, CELLS, 3), np.uint8)
    np.lib.format.write_array(file, table, version=(1, 0))
    palette = Palette(file.getvalue(), CODES, SIDE)
    model = replace(MODEL, rows=GRID, cols=GRID, pixels_per_token=SIDE, codebook_size=CODES)
    painter = Painter("ws://127.0.0.1:1", quality="palette")
    painter._model = model
    painter.add(DecoderTier("palette", "palette", palette))
    taken = []
    for _ in range(PICTURES):
        at = Table(painter, model=model)
        at.receive(accepted(rows=GRID, cols=GRID))
        at.told()
        for row in range(GRID):
            frame = encode(Rows(0, row, random.integers(0, CODES, GRID).astype("<u2").tobytes()))
            begun = time.thread_time()
            at.session.receive(frame)
            event = at.easel.next_event()
            taken.append(time.thread_time() - begun)
            assert isinstance(event, RowsArrived)
            assert event.image is not None
            assert event.image.size == (GRID * SIDE, GRID * SIDE)
    taken.sort()
    median, late = statistics.median(taken), taken[len(taken) * 99 // 100]
    print(
        f"a row of {GRID} ids on a canvas of {GRID * SIDE} pixels: {1e3 * median:.3f} ms, "
        f"99 % within {1e3 * late:.3f} ms; the palette has {len(file.getvalue())} bytes"
    )
    assert median <= 0.001
