"""A VQGAN decoder as ONNX files that any client can run, verified before they get their names.

In a folder: `detokenizer.onnx` (fp32), `detokenizer.fp16.onnx` and `detokenizer.int8.onnx` (see
`precision.py`), where one was taught a small decoder as `preview.onnx` and so on (see
`distill.py`), `palette.npy` (see `palette.py`) and `manifest.json`, which lists the others with
their sizes, sha256, metadata and measured agreement.
Files of the same decoder that an earlier export wrote into the folder, and that nobody has changed
since, stay on the list.

An ONNX file: opset 18 of ai.onnx and nothing else, group norms as InstanceNormalization (which
onnxruntime-web runs on every backend), weights inside. Input `ids`, int64 [batch, rows, cols];
output `pixels`, float32 [batch, 3, rows * p, cols * p], clipped to 0..1. All of batch, rows and
cols are free. Exporting the same checkpoint twice gives the same bytes: files are named by hash.

What the file says of itself (`metadata_props`, all strings):

=========================== ====================================================================
`rowcast.format`            "1"
`rowcast.kind`              "full": the whole decoder; "preview": a small one that imitates it
`rowcast.precision`         "fp32", "fp16" or "int8"
`rowcast.model`             the name of the model
`rowcast.codebook_size`     valid ids are 0..size-1; the graph does not check them
`rowcast.pixels_per_token`  p
`rowcast.value_range`       of the output: "0..1"
`rowcast.source_sha256`     of the checkpoint file
`rowcast.opset`             "18"
`rowcast.self_test`         JSON, see `self_test.py`
=========================== ====================================================================

The palette has no room for notes of its own; the manifest gives it the same ones, with the kind
"palette" and the precision "uint8", as far as they apply.

What a checkpoint may say of itself (safetensors `__metadata__`, all strings, all optional):
`name`, the name of the model; `group_norm_epsilon`, such as "1e-06"; `norm_groups`, such as "32";
`value_range`, what the network calls black and white, such as "0..1" or "-1..1". Where it says
nothing the caller decides, else its family; where checkpoint and caller both speak and disagree,
that is an error. See `settings.py`.

This module must not know about the command line, nor what a client does with the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from rowcast.whole_files import whole_files
from torch import Tensor

from rowcast_export.distill.training import Imitation
from rowcast_export.formats import PLAIN, Checkpoint, CheckpointError
from rowcast_export.manifest import FILE_NAME as MANIFEST_NAME
from rowcast_export.manifest import AnyAgreement, Exported, PreviewAgreement, kept_entries, manifest
from rowcast_export.palette import FILE_NAME as PALETTE_NAME
from rowcast_export.palette import (
    Palette,
    PaletteAgreement,
    make_palette,
    read_palette,
    verify_palette,
)
from rowcast_export.precision import convert
from rowcast_export.preview import PreviewDecoder
from rowcast_export.runtime import OnnxDetokenizer
from rowcast_export.self_test import make_self_test
from rowcast_export.settings import FORMAT_VERSION, OPSETS, PRECISIONS, Settings
from rowcast_export.tracing import trace
from rowcast_export.tracing import with_metadata as with_metadata
from rowcast_export.verify import TOLERANCES, Progress, Reference, verify
from rowcast_export.vqgan import DecoderShape, VQGANDecoder

FILE_NAMES: Final = {
    "fp32": "detokenizer.onnx",
    "fp16": "detokenizer.fp16.onnx",
    "int8": "detokenizer.int8.onnx",
}
PREVIEW_NAMES: Final = {
    "fp32": "preview.onnx",
    "fp16": "preview.fp16.onnx",
    "int8": "preview.int8.onnx",
}


@dataclass(frozen=True)
class Taught:
    """What was taught on grids, and how well: a small decoder, the precisions it is written in,
    and a palette."""

    module: PreviewDecoder
    imitation: Imitation
    palette: Palette
    palette_imitation: Imitation
    precisions: Sequence[str] = PRECISIONS[:1]


def export_detokenizer(
    checkpoint: Checkpoint,
    folder: Path,
    settings: Settings,
    opset: int = OPSETS[0],
    threads: int = 0,
    on_progress: Progress = lambda what, done, total: None,
    precisions: Sequence[str] = PRECISIONS[:1],
    force: bool = False,
    taught: Taught | None = None,
) -> list[Exported]:
    """Write a detokenizer of each precision, the previews, the palette and the manifest.

    `folder` is made if need be. All files appear together, and only after each has been verified;
    until then, and after any failure, whatever was there stays as it was. `force` writes int8
    however coarse it is. Raises CheckpointError, VerificationFailed or OSError.
    """
    module = build(checkpoint, settings)
    tasks = [*_tasks(module, precisions, taught)]
    names = [*(task.file_name for task in tasks), PALETTE_NAME, MANIFEST_NAME]
    exported = []
    with whole_files([folder / name for name in names], make_folders=True) as (
        *pending,
        manifest_file,
    ):
        reference, traced = None, None
        for task, file in zip(tasks, pending, strict=False):
            if reference is None or traced is None or reference.module is not task.module:
                reference = Reference(task.module)
                on_progress(f"tracing the {task.kind} graph", 0, 0)
                traced = to_onnx(task.module, opset)
            on_progress(f"writing {task.kind} {task.precision}", 0, 0)
            model = convert(traced, task.precision)
            metadata = describe(
                model,
                task.module,
                settings.name,
                checkpoint.sha256,
                task.precision,
                task.kind,
            )
            data = with_metadata(model, metadata)
            file.write_bytes(data)
            tolerance = TOLERANCES[task.precision]
            if force and task.precision == "int8":
                tolerance = dataclasses.replace(tolerance, psnr=0.0)
            agreement = verify(file, reference, metadata, threads, on_progress, tolerance)
            if taught is not None and task.module is taught.module:
                agreement = PreviewAgreement(**vars(agreement), imitation=taught.imitation)
            exported.append(_exported(folder / task.file_name, data, metadata, agreement))
        on_progress("mixing the palette", 0, 0)
        data, seen = _write_palette(pending[-1], module, taught)
        notes = palette_notes(module.shape, settings.name, checkpoint.sha256)
        exported.append(_exported(folder / PALETTE_NAME, data, notes, seen))
        kept = kept_entries(folder, names, checkpoint.sha256)
        manifest_file.write_text(manifest(exported, kept), encoding="utf-8")
    return exported


@dataclass(frozen=True)
class _Task:
    """One ONNX file to write."""

    module: VQGANDecoder | PreviewDecoder
    kind: str
    precision: str
    file_name: str


def _tasks(
    module: VQGANDecoder, precisions: Sequence[str], taught: Taught | None
) -> Iterator[_Task]:
    for precision in precisions:
        yield _Task(module, "full", precision, FILE_NAMES[precision])
    if taught is not None:
        for precision in taught.precisions:
            yield _Task(taught.module, "preview", precision, PREVIEW_NAMES[precision])


def _write_palette(
    path: Path, module: VQGANDecoder, taught: Taught | None
) -> tuple[bytes, PaletteAgreement | Imitation]:
    """Its bytes, and how near it comes to decoded planes, or to the pictures it was taught on."""
    if taught is not None:
        data = npy_bytes(taught.palette)
        path.write_bytes(data)
        read_palette(path, taught.palette.shape)
        return data, taught.palette_imitation
    palette, statistics = make_palette(module)
    data = npy_bytes(palette)
    path.write_bytes(data)
    return data, verify_palette(path, module, statistics)


def _exported(
    path: Path, data: bytes, metadata: dict[str, str], agreement: AnyAgreement
) -> Exported:
    return Exported(path, len(data), hashlib.sha256(data).hexdigest(), metadata, agreement)


def build(checkpoint: Checkpoint, settings: Settings) -> VQGANDecoder:
    """The module in float32. Raises CheckpointError, which names the tensor that is at fault."""
    where = f"{checkpoint.path}: no decoder"
    if checkpoint.family is not PLAIN:
        where += f" ({checkpoint.family.name}; tensors are called as in {PLAIN.name})"
    state = {name: _as_tensor(value) for name, value in checkpoint.tensors.items()}
    options = settings.value_range, settings.group_norm_epsilon, settings.norm_groups
    try:
        with torch.device("meta"):  # sizes without memory
            expected = VQGANDecoder(DecoderShape.from_state_dict(state), *options).state_dict()
        _compare_shapes(expected, state)
        module = VQGANDecoder.from_state_dict(state, *options)
    except KeyError as error:
        raise CheckpointError(f"{where}: a tensor is missing: {error.args[0]}") from error
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{where}: {error}") from error
    if module.shape.output_channels != 3:
        raise CheckpointError(
            f"{where}: decoder.conv_out.weight gives {module.shape.output_channels} channels, not 3"
        )
    return module


def _as_tensor(values: NDArray[np.float32]) -> Tensor:
    """The same memory wherever torch can use it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is read-only, a mapped file: nobody writes
        return torch.from_numpy(np.require(values, requirements="A"))


def _compare_shapes(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raise KeyError or ValueError at the first tensor that is missing, misshapen or unknown."""
    for name, wanted in expected.items():
        if name not in found:
            raise KeyError(name)
        if found[name].shape != wanted.shape:
            raise ValueError(
                f"the tensor {name} has shape {list(found[name].shape)}, not {list(wanted.shape)}"
            )
    for name in found:
        if name not in expected:
            raise ValueError(f"the tensor {name} is not part of one")


def to_onnx(module: VQGANDecoder | PreviewDecoder, opset: int = OPSETS[0]) -> onnx.ModelProto:
    """The graph of a module, with nothing in it that tells when, where or by whom it was made."""
    example = torch.zeros(2, 3, 5, dtype=torch.int64)  # no size of 1, no two alike: all stay free
    free = {axis: torch.export.Dim(name) for axis, name in enumerate(("batch", "rows", "cols"))}
    return trace(
        module, (example,), ["ids"], ["pixels"], {"ids": free}, opset, graph_name="detokenizer"
    )


def describe(
    model: onnx.ModelProto,
    module: VQGANDecoder | PreviewDecoder,
    name: str,
    source_sha256: str,
    precision: str = PRECISIONS[0],
    kind: str = "full",
) -> dict[str, str]:
    """The metadata of a graph, its self-test included; see the top of this file."""
    # One thread, so that the recorded pixels do not depend on how many there happen to be.
    detokenizer = OnnxDetokenizer(model.SerializeToString(), threads=1)
    test = make_self_test(detokenizer, module.shape.codebook_size)
    return {
        "rowcast.format": FORMAT_VERSION,
        "rowcast.kind": kind,
        "rowcast.precision": precision,
        "rowcast.model": name,
        "rowcast.codebook_size": str(module.shape.codebook_size),
        "rowcast.pixels_per_token": str(module.shape.pixels_per_token),
        "rowcast.value_range": "0..1",
        "rowcast.source_sha256": source_sha256,
        "rowcast.opset": str(model.opset_import[0].version),
        "rowcast.self_test": test.to_json(),
    }


def palette_notes(shape: DecoderShape, name: str, source_sha256: str) -> dict[str, str]:
    """What the manifest says of the palette."""
    return {
        "rowcast.format": FORMAT_VERSION,
        "rowcast.kind": "palette",
        "rowcast.precision": "uint8",
        "rowcast.model": name,
        "rowcast.codebook_size": str(shape.codebook_size),
        "rowcast.pixels_per_token": str(shape.pixels_per_token),
        "rowcast.source_sha256": source_sha256,
    }


def npy_bytes(palette: Palette) -> bytes:
    """The bytes of `palette.npy`."""
    file = io.BytesIO()
    np.lib.format.write_array(file, palette, version=(1, 0), allow_pickle=False)
    return file.getvalue()
