"""Locations of a model's files: min-dalle's folders, the hub's names, safetensors, flax.

Looks only at names that these layouts document; each file is read where it is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from ..errors import ModelError

EMBEDDED: Final = "postcard"
HUB_MODELS: Final = ("mini", "mega")
MIN_DALLE_ROOT: Final = Path("pretrained")  # min-dalle's default, in the current folder
DETOKENIZERS: Final = (
    "detokenizer.onnx",  # ready
    "detokenizer.safetensors",  # to be exported
    "detoker.pt",
    "../vqgan/detoker.pt",
)
LAYOUTS: Final = """\
  encoder.safetensors  decoder.safetensors  vocab.json  merges.txt  (what `rowcast convert` writes)
  encoder.pt  decoder.pt  vocab.json  merges.txt                    (min-dalle's dalle_bart_…)
  encoder_mini.pt  decoder_mini.pt  vocab_mini.json  merges_mini.txt  (as on the hub)
  flax_model.msgpack  vocab.json  merges.txt                        (dalle-mini's own)"""

# Of each layout: encoder, decoder, vocabulary, merges. A flax file holds both halves.
_NAMES: Final = (
    ("encoder.safetensors", "decoder.safetensors", "vocab.json", "merges.txt"),
    ("encoder.pt", "decoder.pt", "vocab.json", "merges.txt"),
    ("encoder_mini.pt", "decoder_mini.pt", "vocab_mini.json", "merges_mini.txt"),
    ("flax_model.msgpack", "flax_model.msgpack", "vocab.json", "merges.txt"),
)


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model. ``encoder`` and ``decoder`` are one file if it holds both."""

    name: str
    encoder: Path
    decoder: Path
    vocabulary: Path
    merges: Path
    settings: Path | None  # model.json: what no tensor's shape tells
    detokenizer: Path | None  # detokenizer.onnx, or the file to export it from


Download = Callable[[str], ModelFiles]


def find(name_or_path: str, download: Download) -> ModelFiles:
    """The files of ``postcard``, ``mini``, ``mega`` or a folder.

    ``mini`` and ``mega`` are taken from min-dalle's folder `pretrained` where it holds them, else
    from ``download``. Raises ModelError.
    """
    if name_or_path == EMBEDDED:
        return find_in(Path(str(resources.files(__package__) / EMBEDDED)))
    if name_or_path in HUB_MODELS:
        folder = MIN_DALLE_ROOT / f"dalle_bart_{name_or_path}"
        return find_in(folder) if folder.is_dir() else download(name_or_path)
    folder = Path(name_or_path)
    if not folder.is_dir():
        raise ModelError(
            f"unknown model {name_or_path!r}: neither {EMBEDDED}, mini or mega, nor a folder with\n"
            f"{LAYOUTS}"
        )
    return find_in(folder)


def find_in(folder: Path) -> ModelFiles:
    """The one model of a folder."""
    below = [folder / f"dalle_bart_{size}" for size in HUB_MODELS]
    found = [names for names in _NAMES if any((folder / name).is_file() for name in names[:2])]
    if not found:
        inside = [path for path in below if path.is_dir()]
        if len(inside) == 1:
            return find_in(inside[0])
        if inside:
            raise ModelError(f"{folder} holds two models; name {inside[0]} or {inside[1]}")
        raise ModelError(f"the model folder {folder} has no weights; it needs one of\n{LAYOUTS}")
    if len(found) > 1:
        raise ModelError(
            f"{folder} holds more than one model ({' and '.join(names[0] for names in found)}); "
            "put each into a folder of its own"
        )
    (names,) = found
    paths = [folder / name for name in names]
    for path in paths:
        if not path.is_file():
            raise ModelError(f"the model folder {folder} has no {path.name}")
    settings = folder / "model.json"
    detokenizers = (folder / name for name in DETOKENIZERS)
    name = folder.resolve().name.removeprefix("dalle_bart_")[:64] or "model"
    encoder, decoder, vocabulary, merges = paths
    return ModelFiles(
        name,
        encoder,
        decoder,
        vocabulary,
        merges,
        settings if settings.is_file() else None,
        next((path for path in detokenizers if path.is_file()), None),
    )
