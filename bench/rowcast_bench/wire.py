"""Bytes of a picture on the wire: our rows against whole pictures, on a real socket.

The peer is the way every other live preview goes: after every second row the server decodes the
picture so far and sends it as a JPEG (min-dalle's eight pictures), or it sends one at the end.
"""

from __future__ import annotations

import asyncio
import io
import math
import timeit
from collections.abc import Callable
from typing import Final

import msgpack
import msgspec
import numpy as np
import rowcast
from PIL import Image
from rich.console import Console
from rowcast.messages import Rows, decode_server, encode
from rowcast.pixels.time_lapse import time_lapse
from rowcast_server.config import ServerConfig
from rowcast_server.models.loading import LoadedModel, load
from rowcast_server.server import RowcastServer

from .markdown import table
from .progress import Progress

JPEG_QUALITY: Final = 75
PREVIEWS: Final = 8
REPEATS: Final = 20_000
# Headers of a packet: IPv4 20 or IPv6 40 bytes, TCP 20 and 12 of timestamps at most; a TLS 1.3
# record adds 22.
TCP_IP_BYTES: Final = (40, 52)
TLS_BYTES: Final = 22
PROMPT: Final = "sunset over a meadow, a red house on the left, a yellow balloon on the right"


REPORT: Final = """\
{table}

A row is a frame of {row_frame_bytes} bytes. TCP/IP adds {least}-{most} a packet and TLS {tls}: a
lone row is at most {lone_row_on_the_network_bytes} on the network. Ids alone, at the codebook's
bits each, would be {ids_share:.0%} of a picture's bytes. Encoding a row takes {encode_row_ns} ns
({msgpack_encode_row_ns} with msgpack), decoding it with every check {decode_row_ns}
({msgpack_decode_row_ns} unchecked)."""


def run(console: Console, model: str, pictures: int) -> tuple[dict[str, float | int], str]:
    """Draw, count, compare."""
    row_bytes = 2 + len(encode(Rows(0, 0, bytes(32))))
    served = load(model)
    drawing, coding = f"drawing {pictures} pictures", "encoding and decoding rows"
    with Progress(console, [drawing, coding]) as progress:
        progress.stage(drawing, pictures)
        ours, jpegs, finals = asyncio.run(_draw(served, pictures, progress))
        progress.stage(coding)
        codec_times = _codec_times()
    id_bytes = served.grid.tokens * math.log2(served.grid.codebook_size) / 8
    mean, previews, final = (float(np.mean(sizes)) for sizes in (ours, jpegs, finals))
    figures: dict[str, float | int] = {
        "pictures": pictures,
        "row_frame_bytes": row_bytes,
        "picture_bytes": round(mean),
        "picture_bytes_max": max(ours),
        "eight_jpegs_bytes": round(previews),
        "final_jpeg_bytes": round(final),
        "ratio_to_final_jpeg": round(final / mean, 1),
        "lone_row_on_the_network_bytes": row_bytes + TCP_IP_BYTES[1] + TLS_BYTES,
        "ids_share": round(id_bytes / mean, 3),
        **codec_times,
    }
    side = served.grid.rows * served.pixels_per_token
    lines = [
        ("ours, all frames from `accepted` to `done`", round(mean)),
        (f"{PREVIEWS} JPEGs, one every second row: previews sent as pictures", round(previews)),
        ("one JPEG at the end, no preview", round(final)),
    ]
    sizes = table((f"a picture {side} pixels high, the mean of {pictures}", "bytes"), lines)
    least, most = TCP_IP_BYTES
    return figures, REPORT.format(table=sizes, least=least, most=most, tls=TLS_BYTES, **figures)


async def _draw(
    model: LoadedModel, pictures: int, progress: Progress
) -> tuple[list[int], list[int], list[int]]:
    """Bytes of each picture: all of ours, of its eight JPEGs and of the last one."""
    server = RowcastServer(model, ServerConfig(port=0, http_port=0))
    await server.start()
    ours, jpegs, finals = [], [], []
    try:
        async with rowcast.connect(server.ws_url) as client:
            for seed in range(pictures):
                before = client.bytes_received
                async for event in client.generate(PROMPT, seed=seed):
                    done = event.picture
                detokenizer = client.detokenizer
                assert detokenizer is not None  # it has painted the end of the picture
                ours.append(client.bytes_received - before)
                frames = [_jpeg_bytes(frame) for frame in time_lapse(done, detokenizer)]
                every = max(1, len(frames) // PREVIEWS)
                jpegs.append(sum(frames[every - 1 :: every]))
                finals.append(frames[-1])
                progress.advance()
    finally:
        await server.close()
    return ours, jpegs, finals


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


def _nanoseconds(call: Callable[[], object]) -> int:
    return round(1e9 * min(timeit.repeat(call, repeat=5, number=REPEATS)) / REPEATS)
