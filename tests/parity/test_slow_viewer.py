"""A viewer that decodes three updates a second, over hundreds of pictures: what it keeps of them.

Both clients on a real socket, with pictures of real size (16x16 ids, 256x256 pixels); the decoder
takes its time, and all of it runs at TIMES the speed.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import hashlib
import threading
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rowcast
from msgspec.structs import replace
from numpy.typing import NDArray
from rich.progress import track
from rowcast.events import PictureDone
from rowcast.messages import DetokenizerFile, Done, Model, Rows, encode
from rowcast.pixels.tiers import Tier
from rowcast_bench.engine.memory import resident_bytes
from websockets.exceptions import ConnectionClosed

from tests.support.client.shells import SHELLS
from tests.support.fake_server import CODES, MODEL, Peer, accepted, fake_server, welcome
from tests.support.site import sends, site
from tests.support.tiny_model import tiny_palette

pytestmark = [pytest.mark.parity, pytest.mark.timeout(1_800)]

GRID, SIDE = 16, 16
PICTURES, FIRST = 220, 20  # memory is counted from the end of the first
TIMES = 4.0
DECODE_SECONDS, ROW_SECONDS = 1 / 3 / TIMES, 0.05 / TIMES
MOST_GROWTH_BYTES = 5 * 2**20
IDS = np.random.default_rng(0).integers(0, CODES, (GRID, GRID)).astype("<u2")


@dataclass
class SlowDecoder:
    """As slow as a full decode on a small machine, and as large."""

    pixels_per_token: int = SIDE
    decodes: int = 0
    in_flight: int = 0
    most_in_flight: int = 0

    def decode(self, ids: NDArray[np.integer]) -> NDArray[np.uint8]:
        raise AssertionError("pictures that form are painted")

    def paint(self, grid: NDArray[np.integer], rows: int) -> NDArray[np.uint8]:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        time.sleep(DECODE_SECONDS)
        pixels = np.full((rows * SIDE, GRID * SIDE, 3), self.decodes % 251, np.uint8)
        self.decodes += 1
        self.in_flight -= 1
        return pixels


def script_of(model: Model) -> Any:
    async def script(peer: Peer) -> None:
        await peer.receive()
        await peer.send(welcome(model))
        try:
            while await peer.receive() is not None:
                await peer.send(accepted(rows=GRID, cols=GRID))
                for row in range(GRID):
                    await peer.send(encode(Rows(0, row, IDS[row].tobytes())))
                    await asyncio.sleep(ROW_SECONDS)
                await peer.send(encode(Done(0, GRID, zlib.crc32(IDS.tobytes()), 5, 0)))
        except ConnectionClosed:
            pass

    return script


def held_bytes() -> int:
    """What the process holds, without what earlier tests have left for the allocator to reuse."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
    return resident_bytes()


@pytest.mark.parametrize("shell", SHELLS)
def test_two_hundred_pictures_leave_nothing_behind(shell: str, tmp_path: Path) -> None:
    content = tiny_palette(tmp_path / "palette.npy", CODES, 4).read_bytes()
    decoder, grown, most_decodes = SlowDecoder(), 0, 0
    with site(sends(content)) as web:
        file = DetokenizerFile(
            "palette", "uint8", len(content), hashlib.sha256(content).digest(), web.url
        )
        model = replace(MODEL, rows=GRID, cols=GRID, pixels_per_token=SIDE, files=[file])
        with (
            fake_server(script_of(model)) as fake,
            SHELLS[shell](fake.url, quality="palette") as client,
        ):
            inner = client if isinstance(client, rowcast.SyncClient) else client.client
            loader = inner._loader
            assert loader is not None
            loader.last_name = "full"
            loader.add(Tier("full", "full, slow", decoder))
            for number in track(range(PICTURES), f"{shell} client"):
                before = decoder.decodes
                for event in client.generate("a red boat"):
                    end = event
                assert isinstance(end, PictureDone)
                assert end.tier == "full"
                most_decodes = max(most_decodes, decoder.decodes - before)
                if number == FIRST:
                    first = held_bytes()
            grown = held_bytes() - first
    print(
        f"{shell}: {PICTURES - FIRST} pictures after the first {FIRST}: {grown / 2**20:.2f} MiB "
        f"grown, at most {decoder.most_in_flight} decode in flight, at most {most_decodes} a "
        f"picture, {threading.active_count()} threads"
    )
    assert decoder.most_in_flight == 1
    # Of 16 rows in 0.8 s no more than three decodes while they come, and the last one.
    assert most_decodes <= 5
    assert grown < MOST_GROWTH_BYTES
