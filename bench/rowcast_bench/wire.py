"""Bytes of a picture on the wire: our rows against whole pictures, on a real socket.

The peer is the way every other live preview goes: after every second row the server decodes the
picture so far and sends it as a JPEG (min-dalle's eight pictures), or it sends one at the end.
"""

from __future__ import annotations

import asyncio
import io
import math
import time
from typing import Final

import msgpack
import msgspec
import numpy as np
import rowcast
from PIL import Image
from rich.console import Console
from rich.table import Table
from rowcast.messages import Rows, decode_server, encode
from rowcast.pixels.time_lapse import time_lapse
from rowcast_server.config import ServerConfig
from rowcast_server.models.loading import LoadedModel, load
from rowcast_server.server import RowcastServer

from .progress import Progress

JPEG_QUALITY: Final = 75
PREVIEWS: Final = 8
REPEATS: Final = 20_000
# Headers of a packet: IPv4 20 or IPv6 40 bytes, TCP 20 and 12 of timestamps at most; a TLS 1.3
# record adds 22.
TCP_IP_BYTES: Final = (40, 52)
TLS_BYTES: Final = 22
PROMPT: Final = "sunset over a meadow, a red house on the left, a yellow balloon on the right"


def run(model: str, pictures: int, console: Console) -> dict[str, float | int]:
    """Draw, count, compare; returns the figures."""
    row_bytes = 2 + len(encode(Rows(0, 0, bytes(32))))
    served = load(model)
    drawing, coding = f"drawing {pictures} pictures", "encoding and decoding rows"
    with Progress(console, [drawing, coding]) as progress:
        progress.stage(drawing, pictures)
        ours, jpegs, finals, delays = asyncio.run(_draw(served, pictures, progress))
        progress.stage(coding)
        codec_times = _codec_times()
    id_bytes = served.grid.tokens * math.log2(served.grid.codebook_size) / 8
    figures: dict[str, float | int] = {
        "pictures": pictures,
        "row_frame_bytes": row_bytes,
        "picture_bytes": round(float(np.mean(ours))),
        "picture_bytes_max": max(ours),
        "eight_jpegs_bytes": round(float(np.mean(jpegs))),
        "final_jpeg_bytes": round(float(np.mean(finals))),
        "ratio_to_eight_jpegs": round(float(np.mean(jpegs) / np.mean(ours)), 1),
        "ratio_to_final_jpeg": round(float(np.mean(finals) / np.mean(ours)), 1),
        "lone_row_on_the_network_bytes": row_bytes + TCP_IP_BYTES[1] + TLS_BYTES,
        "row_interval_ms": round(float(np.median(delays)) * 1000, 2),
        "ids_share": round(id_bytes / float(np.mean(ours)), 3),
        **codec_times,
    }
    table = Table("a picture of 128 x 128 or as the model draws", "bytes")
    table.add_row("ours: all frames from accepted to done", str(figures["picture_bytes"]))
    table.add_row(f"{PREVIEWS} JPEGs, one every second row", str(figures["eight_jpegs_bytes"]))
    table.add_row("one JPEG at the end, no preview", str(figures["final_jpeg_bytes"]))
    console.print(table)
    console.print(
        f"a row is a frame of {row_bytes} bytes; TCP/IP adds {TCP_IP_BYTES[0]}-{TCP_IP_BYTES[1]} a "
        f"packet and TLS {TLS_BYTES}: at most {figures['lone_row_on_the_network_bytes']} on the "
        f"network. Ids alone, at the codebook's bits each, would be {figures['ids_share']:.0%} of "
        f"a picture's bytes. Encoding a row takes {figures['encode_row_ns']} ns with our codec, "
        f"{figures['msgpack_encode_row_ns']} with msgpack; decoding with every check "
        f"{figures['decode_row_ns']} ns, {figures['msgpack_decode_row_ns']} unchecked.",
        highlight=False,
    )
    return figures


async def _draw(
    model: LoadedModel, pictures: int, progress: Progress
) -> tuple[list[int], list[int], list[int], list[float]]:
    server = RowcastServer(model, ServerConfig(port=0, http_port=0))
    await server.start()
    ours, jpegs, finals, delays = [], [], [], []
    try:
        async with rowcast.connect(server.ws_url) as client:
            for seed in range(pictures):
                before, last, done = client.bytes_received, time.perf_counter(), None
                async for event in client.generate(PROMPT, seed=seed):
                    if isinstance(event, rowcast.RowsArrived):
                        now = time.perf_counter()
                        delays.append((now - last) / len(event.rows))
                        last = now
                    done = event.picture
                detokenizer = client.detokenizer
                assert done is not None
                assert detokenizer is not None  # it has painted the end of the picture
                ours.append(client.bytes_received - before)
                frames = [_jpeg_bytes(frame) for frame in time_lapse(done, detokenizer)]
                every = max(1, len(frames) // PREVIEWS)
                jpegs.append(sum(frames[every - 1 :: every]))
                finals.append(frames[-1])
                progress.advance()
    finally:
        await server.close()
    return ours, jpegs, finals, delays


def _jpeg_bytes(image: Image.Image) -> int:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return len(buffer.getvalue())


def _codec_times() -> dict[str, float | int]:
    row = Rows(3, 11, np.arange(16, dtype="<u2").tobytes())
    frame = encode(row)
    plain = msgspec.to_builtins(row, builtin_types=(bytes,))
    return {
        "encode_row_ns": _nanoseconds(lambda: encode(row)),
        "msgpack_encode_row_ns": _nanoseconds(lambda: msgpack.packb(plain)),
        "decode_row_ns": _nanoseconds(lambda: decode_server(frame)),
        "msgpack_decode_row_ns": _nanoseconds(lambda: msgpack.unpackb(frame)),
    }


def _nanoseconds(call: object) -> int:
    assert callable(call)
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter_ns()
        for _ in range(REPEATS):
            call()
        best = min(best, (time.perf_counter_ns() - begun) / REPEATS)
    return round(best)
