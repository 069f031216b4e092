"""The detokenizer files that clients fetch: one folder as `rowcast export` writes it.

ONNX files tell their own kind and precision, and the checkpoint they were made from; the palette
tells its number of codes. A file of another decoder is refused here, before a client gets it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx
from rowcast.messages import MAX_PALETTE_BYTES

from ..errors import ModelError

PALETTE: Final = "palette.npy"
SOURCE: Final = "rowcast.source_sha256"
# The whole of a palette's header after its first ten bytes (protocol.md, R-84).
PALETTE_HEADER: Final = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '\|u1', 'fortran_order': False, "
    rb"'shape': \((\d+), (\d+), (\d+), 3\), \} *\n",
    re.DOTALL,
)


@dataclass(frozen=True)
class ClientFile:
    """A file with its ``kind`` and ``precision`` (protocol.md, sections 4.10 and 10)."""

    path: Path
    kind: str
    precision: str
    size: int  # bytes
    sha256: bytes


@dataclass(frozen=True)
class Detokenizer:
    """The full decoder in float32, and all files of its folder, itself the first."""

    path: Path
    sha256: bytes
    codebook_size: int
    pixels_per_token: int
    files: tuple[ClientFile, ...]


def read_detokenizer(path: Path) -> Detokenizer:
    """Read a detokenizer and the files beside it. Raises ModelError, naming the file at fault."""
    metadata = _metadata(path)
    try:
        codebook_size = int(metadata["rowcast.codebook_size"])
        pixels_per_token = int(metadata["rowcast.pixels_per_token"])
    except KeyError as error:
        raise ModelError(
            f"{path} does not say its {error.args[0]}: it was not made by `rowcast export`"
        ) from error
    except ValueError as error:
        raise ModelError(f"{path} has damaged metadata: {error}") from error
    first = _client_file(path, "full", metadata.get("rowcast.precision", "fp32"))
    files = [first]
    for other in sorted(path.parent.glob("*.onnx")):
        if other == path:
            continue
        notes = _metadata(other)
        if "rowcast.format" not in notes:
            continue  # somebody else's
        for key in (SOURCE, "rowcast.codebook_size", "rowcast.pixels_per_token"):
            if notes.get(key) != metadata.get(key):
                raise ModelError(
                    f"{other} says {key} {notes.get(key)}, but {path} {metadata.get(key)}: they "
                    "are of two decoders; export both anew into one folder, or remove one"
                )
        kind, precision = notes.get("rowcast.kind", ""), notes.get("rowcast.precision", "")
        if not (0 < len(kind) <= 32 and 0 < len(precision) <= 16):
            raise ModelError(f"{other} does not say its rowcast.kind or rowcast.precision")
        files.append(_client_file(other, kind, precision))
    palette = path.with_name(PALETTE)
    if palette.is_file() and palette.stat().st_size <= MAX_PALETTE_BYTES:
        _check_palette(palette, path, codebook_size, pixels_per_token)
        files.append(_client_file(palette, "palette", "uint8"))
    return Detokenizer(path, first.sha256, codebook_size, pixels_per_token, tuple(files))


def file_sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _client_file(path: Path, kind: str, precision: str) -> ClientFile:
    return ClientFile(path, kind, precision, path.stat().st_size, file_sha256(path))


def _metadata(path: Path) -> dict[str, str]:
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError and whatever else onnx lets through
        raise ModelError(f"{path} is no ONNX file, or is cut short: {error}") from error
    return {entry.key: entry.value for entry in model.metadata_props}


def _check_palette(palette: Path, decoder: Path, codes: int, pixels_per_token: int) -> None:
    content = palette.read_bytes()
    header = PALETTE_HEADER.match(content)
    if header is None:
        raise ModelError(f"{palette} is no palette; write it anew with `rowcast export`")
    count, side, other = (int(number) for number in header.groups())
    if side != other or side < 1 or pixels_per_token % side or count != codes:
        raise ModelError(
            f"{palette} has {count} codes of {side} x {other} pixels, but {decoder} {codes} of "
            f"{pixels_per_token} x {pixels_per_token}: export both anew into one folder"
        )
    if len(content) != header.end() + count * side * side * 3:
        raise ModelError(f"{palette} is cut short; write it anew with `rowcast export`")
