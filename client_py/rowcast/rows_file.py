"""Saved streams: .rows files (protocol.md section 9), and what is painted from them."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .errors import ProtocolError, ReplayError
from .messages import (
    Digest,
    ModelName,
    Revision,
    Side,
    Unsigned8,
    Unsigned16,
    Unsigned32,
    done_reason,
)
from .picture import Picture, Recipe, Sampling
from .pixels.tiers import Decoder
from .pixels.time_lapse import revealed

MAGIC: Final = b"ROWS"
VERSION: Final = 1
NOT_ENDED: Final = 255
MAX_BYTES: Final = 65_536 + 64 * 64 * 4
FRAME_MILLISECONDS: Final = 120
LAST_FRAME_MILLISECONDS: Final = 1_600


class _Record(Struct, array_like=True, frozen=True):
    model: ModelName
    revision: Revision
    prompt: str
    seed: Unsigned32
    image: Unsigned16
    temperature: float
    top_k: Unsigned32
    top_p: float
    guidance: float
    rows: Side
    cols: Side
    id_bytes: Literal[2, 4]
    detokenizer_sha256: Digest | None
    reason: Unsigned8
    ids: bytes


_decoder = msgspec.msgpack.Decoder(_Record)


def encode_picture(picture: Picture) -> bytes:
    """A picture, whole or as far as it came, as the bytes of a .rows file."""
    recipe, sampling = picture.recipe, picture.recipe.sampling
    record = _Record(
        recipe.model,
        recipe.revision,
        recipe.prompt,
        recipe.seed,
        recipe.image,
        sampling.temperature,
        sampling.top_k,
        sampling.top_p,
        sampling.guidance,
        recipe.rows,
        recipe.cols,
        recipe.id_bytes,
        recipe.detokenizer_sha256,
        NOT_ENDED if picture.reason is None else int(picture.reason),
        picture.held_bytes,
    )
    body = MAGIC + bytes([VERSION]) + msgspec.msgpack.encode(record)
    return body + zlib.crc32(body).to_bytes(4, "little")


def decode_picture(data: bytes) -> Picture:
    """The inverse of `encode_picture`. Raises ReplayError, saying what is wrong."""
    if len(data) > MAX_BYTES:
        raise ReplayError(f"{len(data)} bytes are too many for a .rows file")
    if data[:4] != MAGIC:
        raise ReplayError("not a .rows file")
    if len(data) < 10:
        raise ReplayError("the file is cut short")
    if data[4] != VERSION:
        raise ReplayError(f"version {data[4]} of the format; this program reads {VERSION}")
    body, checksum = data[:-4], int.from_bytes(data[-4:], "little")
    if zlib.crc32(body) != checksum:
        raise ReplayError("the checksum is wrong: the file is damaged or cut short")
    try:
        record = _decoder.decode(body[5:])
        picture = Picture(
            Recipe(
                record.model,
                record.revision,
                record.prompt,
                record.seed,
                record.image,
                Sampling(record.temperature, record.top_k, record.top_p, record.guidance),
                record.rows,
                record.cols,
                record.id_bytes,
                record.detokenizer_sha256,
            )
        )
        if record.ids:
            picture.add_rows(0, record.ids)
    except (
        msgspec.MsgspecError,
        UnicodeDecodeError,
        RecursionError,
        ProtocolError,
    ) as error:
        raise ReplayError(f"the file does not follow the format: {error}") from error
    if record.reason != NOT_ENDED:
        picture.reason = done_reason(record.reason)
    return picture


def save_rows(picture: Picture, path: Path) -> None:
    """Write a .rows file, whole or not at all. Raises OSError, naming it."""
    with _whole_or_nothing(path) as partial:
        partial.write_bytes(encode_picture(picture))


def load_rows(path: Path) -> Picture:
    """Read a .rows file. Raises ReplayError, OSError."""
    with path.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    try:
        return decode_picture(data)
    except ReplayError as error:
        raise ReplayError(f"{path}: {error}") from error


def final_image(picture: Picture, detokenizer: Decoder) -> Image.Image:
    """The rows held, decoded at once; paper where none are."""
    return Image.fromarray(detokenizer.paint(picture.grid, picture.recipe.rows))


def time_lapse(picture: Picture, detokenizer: Decoder) -> Iterator[Image.Image]:
    """The picture with one, two, … all of its rows, as it came into sight; one decode."""
    if picture.rows_held == 0:
        return iter(())
    side, whole = detokenizer.pixels_per_token, final_image(picture, detokenizer)
    return revealed(whole, picture.rows_held, side, picture.recipe.rows)


def save_png(
    image: Image.Image, picture: Picture, path: Path, mosaic: tuple[int, int] | None = None
) -> None:
    """Write a PNG that carries its recipe: prompt, seed, image, model, revision, sampling.

    Of a ``mosaic`` of (rows, columns) of pictures, ``picture`` is the first.
    """
    recipe, information = picture.recipe, PngInfo()
    sampling = recipe.sampling
    for key, value in {
        "Software": "rowcast",
        "prompt": recipe.prompt,
        "seed": recipe.seed,
        "image": recipe.image,
        "model": recipe.model,
        "revision": recipe.revision.hex(),
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "guidance": sampling.guidance,
        "rows": picture.rows_held,
    }.items():
        information.add_itxt(key, str(value))
    if mosaic is not None:
        information.add_itxt("mosaic", f"{mosaic[0]} x {mosaic[1]}")
    with _whole_or_nothing(path) as partial:
        image.save(partial, format="PNG", pnginfo=information)


def save_gif(frames: Iterator[Image.Image], path: Path) -> None:
    """Write a time-lapse that loops and rests on its last frame."""
    pictures = [frame.quantize(256, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames]
    if not pictures:
        raise ReplayError("no row has arrived: there is nothing to show")
    durations = [FRAME_MILLISECONDS] * (len(pictures) - 1) + [LAST_FRAME_MILLISECONDS]
    first, rest = pictures[0], pictures[1:]
    with _whole_or_nothing(path) as partial:
        first.save(
            partial, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0
        )


@contextmanager
def _whole_or_nothing(path: Path) -> Iterator[Path]:
    """A file to write, which takes its place once it is whole. Raises OSError, naming the place."""
    partial = path.with_name(f"{path.name}.part")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error
    finally:
        with suppress(OSError):
            partial.unlink()
