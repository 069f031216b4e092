"""The command `rowcast convert`: a model's checkpoint files as a folder of safetensors."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rowcast.whole_files import whole_folder

from .errors import ModelError
from .families.janus.sizes import is_janus
from .models import hub
from .models.client_files import read_detokenizer
from .models.loading import decoder_tensors, load_transformer, open_tensors
from .models.safetensors_file import write_safetensors
from .models.sources import ModelFiles, detokenizer_checkpoint, find
from .network.tensors import Tensors

DTYPES: Final[dict[str, np.dtype[Any] | None]] = {
    "keep": None,
    "fp32": np.dtype(np.float32),
    "fp16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
}


def convert(arguments: list[str]) -> int:
    """Turn a model's pickles or flax files into a folder of safetensors."""
    options = convert_parser().parse_args(arguments)
    folder: Path = options.output
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"{folder} is there already; name another folder, or remove it")
    files = find(options.source, hub.download)
    if options.detokenizer_checkpoint:
        files = replace(files, detokenizer=detokenizer_checkpoint(files))
    convert_files(files, folder, DTYPES[options.dtype])
    print(f"wrote {folder}; serve it with: rowcast serve --model {folder}")
    return 0


def convert_parser() -> argparse.ArgumentParser:
    """The options of `rowcast convert`."""
    parser = argparse.ArgumentParser(
        prog="rowcast convert",
        allow_abbrev=False,
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
        help="mini, mega (./pretrained, else the hub), janus-pro-1b, janus-pro-7b (the hub), or a "
        "folder of .pt, .bin, flax or safetensors",
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
    parser.add_argument(
        "--detokenizer-checkpoint",
        action="store_true",
        help="take the detokenizer's checkpoint alone, and not what was exported from it",
    )
    return parser


def convert_files(files: ModelFiles, folder: Path, dtype: np.dtype[Any] | None) -> None:
    """Write the folder, whole or not at all. Raises ModelError, CheckpointError or OSError."""
    transformer = load_transformer(files)
    parts: list[tuple[str, Tensors, np.dtype[Any] | None]]
    if is_janus(transformer.decoder):
        parts = [("janus", transformer.decoder, dtype)]
        copies = {files.vocabulary: "tokenizer.json"}
    else:
        parts = [("encoder", transformer.encoder, dtype), ("decoder", transformer.decoder, dtype)]
        copies = {files.vocabulary: "vocab.json", files.merges: "merges.txt"}
    # What is no pickle is kept as it is, with its notes.
    match files.detokenizer:
        case Path() as whole if whole == files.decoder:  # of which it is a part
            parts.append(("detokenizer", decoder_tensors(whole), None))
        case Path(suffix=".onnx") as ready:  # and the other files beside it for the clients
            copies |= {file.path: file.path.name for file in read_detokenizer(ready).files}
        case Path(suffix=".safetensors") as ready:
            copies[ready] = ready.name
        case Path() as pickle:
            parts.append(("detokenizer", open_tensors(pickle), None))
    if files.settings is not None:
        copies[files.settings] = "model.json"
    settings = {
        "name": transformer.name,
        **asdict(transformer.grid),
        "sampling": asdict(transformer.sampling),
    }
    total = sum(_bytes(tensors, kind) for _, tensors, kind in parts)
    try:
        with whole_folder(folder) as unfinished, _progress() as bar:
            task = bar.add_task(f"writing {folder}", total=total)
            for name, tensors, kind in parts:
                path = unfinished / f"{name}.safetensors"
                write_safetensors(path, tensors, kind, lambda count: bar.advance(task, count))
            (unfinished / "model.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
            for source, name in copies.items():
                shutil.copyfile(source, unfinished / name)
    except OSError as error:
        raise ModelError(
            f"{folder} could not be written ({error.strerror or error}; it needs "
            f"{total / 1e6:,.1f} MB); nothing was left there"
        ) from error


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
