"""The detokenizer files that clients fetch: one folder as `rowcast export` writes it.

ONNX files tell their own kind and precision, and the checkpoint they were made from; the palette
and the weights of a preview tell their number of codes. A file of another decoder is refused here,
before a client gets it.
"""

from __future__ import annotations

import hashlib
import logging
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx
from rowcast.errors import DetokenizerError
from rowcast.messages import MAX_PALETTE_BYTES
from rowcast.pixels.palette import Palette

from ..errors import ModelError

logger = logging.getLogger(__name__)

PALETTE: Final = "palette.npy"
WEIGHTS: Final = re.compile(r"preview\.(fp16|int8)\.bin")
WEIGHTS_BEGIN: Final = b"PREV\x01\0\0\0"  # then codebook size and pixels per token
SOURCE: Final = "rowcast.source_sha256"


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
    """The codes and pixels of a decoder, and all files of its folder, the full float32 one
    first."""

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
            f"{path} does not say its {error.args[0]}: make it anew with `rowcast export`"
        ) from error
    except ValueError as error:
        raise ModelError(f"{path} has damaged metadata ({error}); export it anew") from error
    files = [_client_file(path, "full", metadata.get("rowcast.precision", "fp32"))]
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
            raise ModelError(
                f"{other} does not say its rowcast.kind or rowcast.precision; export it anew"
            )
        files.append(_client_file(other, kind, precision))
    for other in sorted(path.parent.glob("*.bin")):
        if found := WEIGHTS.fullmatch(other.name):
            _check_weights(other, codebook_size, pixels_per_token)
            files.append(_client_file(other, "preview_weights", found[1]))
    palette = path.with_name(PALETTE)
    if palette.is_file() and palette.stat().st_size > MAX_PALETTE_BYTES:
        logger.warning(
            "%s is larger than %d bytes: clients would refuse it, and are given none",
            palette,
            MAX_PALETTE_BYTES,
        )
    elif palette.is_file():
        try:
            Palette(palette.read_bytes(), codebook_size, pixels_per_token, str(palette))
        except DetokenizerError as error:
            raise ModelError(f"{error}; write it anew with `rowcast export`") from error
        files.append(_client_file(palette, "palette", "uint8"))
    return Detokenizer(codebook_size, pixels_per_token, tuple(files))


def file_sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _client_file(path: Path, kind: str, precision: str) -> ClientFile:
    return ClientFile(path, kind, precision, path.stat().st_size, file_sha256(path))


def _check_weights(path: Path, codebook_size: int, pixels_per_token: int) -> None:
    """Raise ModelError unless these are the weights of a preview of such a decoder."""
    wanted = WEIGHTS_BEGIN + struct.pack("<II", codebook_size, pixels_per_token)
    with path.open("rb") as file:
        if file.read(len(wanted)) != wanted:
            raise ModelError(
                f"{path} has no weights of a preview with {codebook_size} codes of "
                f"{pixels_per_token} pixels; write it anew with `rowcast export`, or remove it"
            )


def _metadata(path: Path) -> dict[str, str]:
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError and whatever else onnx lets through
        raise ModelError(
            f"{path} is no ONNX file, or is cut short ({error}); export it anew"
        ) from error
    return {entry.key: entry.value for entry in model.metadata_props}
