"""Locations of a model's files: min-dalle's folders, the hub's names, safetensors, flax, Janus-Pro.

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
JANUS_MODELS: Final = ("janus-pro-1b", "janus-pro-7b")
MIN_DALLE_ROOT: Final = Path("pretrained")  # min-dalle's default, in the current folder
DETOKENIZERS: Final = (
    "detokenizer.onnx",  # ready
    "detokenizer.safetensors",  # to be exported
    "detoker.pt",
    "../vqgan/detoker.pt",
)
MIN_DALLE: Final = "encoder.pt", "decoder.pt", "vocab.json", "merges.txt"
HUB_MINI: Final = "encoder_mini.pt", "decoder_mini.pt", "vocab_mini.json", "merges_mini.txt"
JANUS_FILES: Final = {
    "janus.safetensors": "what `rowcast convert` writes",
    "pytorch_model.bin.index.json": "deepseek's 7B",
    "pytorch_model.bin": "deepseek's 1B",
    "model.safetensors.index.json": "transformers', in shards",
    "model.safetensors": "transformers'",
}
# Encoder, decoder, vocabulary and merges of each layout, and its origin. A flax file holds both
# halves.
LAYOUTS: Final = {
    ("encoder.safetensors", "decoder.safetensors", *MIN_DALLE[2:]): "what `rowcast convert` writes",
    MIN_DALLE: "min-dalle's dalle_bart_…",
    HUB_MINI: "as on the hub",
    ("flax_model.msgpack", "flax_model.msgpack", *MIN_DALLE[2:]): "dalle-mini's own",
    **{
        (name, name, "tokenizer.json", "tokenizer.json"): f"Janus-Pro, {origin}"
        for name, origin in JANUS_FILES.items()
    },
}
NEEDED: Final = "; or ".join(
    f"{', '.join(dict.fromkeys(names))} ({origin})" for names, origin in LAYOUTS.items()
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
    if name_or_path in JANUS_MODELS:
        return download(name_or_path)
    folder = Path(name_or_path)
    if not folder.is_dir():
        names = ", ".join((EMBEDDED, *HUB_MODELS, *JANUS_MODELS[:-1]))
        raise ModelError(
            f"unknown model {name_or_path!r}; name {names} or {JANUS_MODELS[-1]}, or a folder "
            f"with {NEEDED}"
        )
    return find_in(folder)


def find_in(folder: Path) -> ModelFiles:
    """The one model of a folder."""
    below = [folder / f"dalle_bart_{size}" for size in HUB_MODELS]
    found = [names for names in LAYOUTS if any((folder / name).is_file() for name in names[:2])]
    if not found:
        inside = [path for path in below if path.is_dir()]
        if len(inside) == 1:
            return find_in(inside[0])
        if inside:
            raise ModelError(f"{folder} holds two models; name {inside[0]} or {inside[1]}")
        raise ModelError(f"the model folder {folder} has no weights; it needs {NEEDED}")
    if len(found) > 1:
        raise ModelError(
            f"{folder} holds more than one model ({' and '.join(names[0] for names in found)}); "
            "put each into a folder of its own"
        )
    for name in found[0]:
        if not (folder / name).is_file():
            raise ModelError(f"the model folder {folder} has no {name}; put it there")
    encoder, decoder, vocabulary, merges = (folder / name for name in found[0])
    settings = path if (path := folder / "model.json").is_file() else None
    detokenizers = (folder / name for name in DETOKENIZERS)
    detokenizer = next((path for path in detokenizers if path.is_file()), None)
    if detokenizer is None and found[0][0] in JANUS_FILES and decoder.stem != "janus":
        detokenizer = decoder  # its files hold the decoder of pictures too
    name = folder.resolve().name.removeprefix("dalle_bart_")[:64] or "model"
    return ModelFiles(name, encoder, decoder, vocabulary, merges, settings, detokenizer)


def detokenizer_checkpoint(files: ModelFiles) -> Path | None:
    """What a model's detokenizer is exported from, beside its weights; None where it is not."""
    if files.detokenizer is None or files.detokenizer.suffix != ".onnx":
        return files.detokenizer
    places = (files.detokenizer.parent / name for name in DETOKENIZERS[1:])
    return next((path for path in places if path.is_file()), None)
