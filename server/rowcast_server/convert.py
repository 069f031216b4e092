"""The command `rowcast convert`: a model's checkpoint files as a folder of safetensors."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rowcast.whole_files import whole_folder

from .errors import ModelError
from .models import hub
from .models.checkpoints import open_checkpoint
from .models.client_files import read_detokenizer
from .models.loading import Transformer, load_transformer
from .models.safetensors_file import write_safetensors
from .models.sources import ModelFiles, find
from .network.tensors import Tensors

DTYPES: Final[dict[str, np.dtype[Any] | None]] = {
    "keep": None,
    "fp32": np.dtype(np.float32),
    "fp16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
}


def convert(arguments: list[str]) -> int:
    """Turn a model's pickles or flax files into a folder of safetensors."""
    parser = argparse.ArgumentParser(
        prog="rowcast convert",
        description="Write a model as a folder of safetensors, so that pickles are read once and "
        "torch is not needed to serve it. The folder appears whole or not at all.",
        epilog="examples:\n"
        "  rowcast convert pretrained/dalle_bart_mini -o models/mini\n"
        "  rowcast convert mega -o models/mega --dtype bf16\n"
        "then:\n"
        "  rowcast serve --model models/mini",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="mini, mega (./pretrained, else the hub), or a folder of .pt, flax or safetensors",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path, required=True, help="a folder not there yet"
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="keep",
        help="of the transformer's weights (default: as they are)",
    )
    options = parser.parse_args(arguments)
    folder: Path = options.output
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"{folder} is there already; name another folder, or remove it")
    convert_files(find(options.source, hub.download), folder, DTYPES[options.dtype])
    print(f"wrote {folder}; serve it with: rowcast serve --model {folder}")
    return 0


def convert_files(files: ModelFiles, folder: Path, dtype: np.dtype[Any] | None) -> None:
    """Write the folder, whole or not at all. Raises ModelError or OSError."""
    transformer = load_transformer(files)
    parts = [("encoder", transformer.encoder, dtype), ("decoder", transformer.decoder, dtype)]
    # What is no pickle is kept as it is, with its notes.
    ready = files.detokenizer is not None and files.detokenizer.suffix in (".onnx", ".safetensors")
    if files.detokenizer is not None and not ready:
        parts.append(("detokenizer", open_checkpoint(files.detokenizer), None))
    total = sum(_bytes(tensors, kind) for _, tensors, kind in parts)

    def make(temporary: Path) -> None:
        with _progress() as bar:
            task = bar.add_task(f"writing {folder}", total=total)
            for name, tensors, kind in parts:
                try:
                    write_safetensors(
                        temporary / f"{name}.safetensors",
                        tensors,
                        kind,
                        lambda count: bar.advance(task, count),
                    )
                except OverflowError as error:
                    raise ModelError(f"{tensors.path}: {error}; choose another --dtype") from error
        shutil.copyfile(files.vocabulary, temporary / "vocab.json")
        shutil.copyfile(files.merges, temporary / "merges.txt")
        if files.detokenizer is not None and ready:
            for path in _with_its_tiers(files.detokenizer):
                shutil.copyfile(path, temporary / path.name)
        settings = json.dumps(_settings(files, transformer), indent=2)
        (temporary / "model.json").write_text(settings + "\n", "utf-8")

    try:
        with whole_folder(folder) as unfinished:
            make(unfinished)
    except OSError as error:
        raise ModelError(
            f"{folder} could not be written ({error.strerror or error}; it needs "
            f"{total / 1e6:,.1f} MB); nothing was left there"
        ) from error


def _with_its_tiers(detokenizer: Path) -> list[Path]:
    """The file and, if clients can take it as it is, the other files beside it for them."""
    if detokenizer.suffix != ".onnx":
        return [detokenizer]
    return [file.path for file in read_detokenizer(detokenizer).files]


def _settings(files: ModelFiles, transformer: Transformer) -> dict[str, Any]:
    """model.json: the source's own if it has one."""
    if files.settings is not None:
        settings: dict[str, Any] = json.loads(files.settings.read_text("utf-8"))
        return settings
    return {
        "name": transformer.name,
        **dataclasses.asdict(transformer.grid),
        "sampling": dataclasses.asdict(transformer.sampling),
    }


def _bytes(tensors: Tensors, dtype: np.dtype[Any] | None) -> int:
    return sum(
        int(np.prod(tensors.shape(name))) * (dtype or tensors.dtype(name)).itemsize
        for name in tensors
    )


def _progress() -> Progress:
    console = Console(file=sys.stderr)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
