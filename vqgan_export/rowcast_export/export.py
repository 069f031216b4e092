"""Export of a VQGAN decoder: ONNX files that any client can run, verified before they get names.

In a folder: ``detokenizer.onnx`` (fp32), ``detokenizer.fp16.onnx`` and ``detokenizer.int8.onnx``
(see ``detokenizer_file.py`` and ``precision.py``), where a small decoder was taught
``preview.onnx`` and so on (see ``distill/``), ``palette.npy`` (see ``palette.py``) and
``manifest.json``, which lists the others with their sizes, sha256, metadata and measured agreement.
Files of the same decoder that an earlier export wrote into the folder, and that nobody has changed
since, stay on the list. Exporting the same checkpoint twice gives the same bytes.

This module must not know about the command line, nor what a client does with the files.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rowcast.whole_files import whole_files

from .agreements import AnyAgreement, Imitation, PreviewAgreement
from .building import build
from .detokenizer_file import describe, file_name, to_onnx, with_metadata
from .formats import Checkpoint
from .manifest import FILE_NAME as MANIFEST_NAME
from .manifest import Exported, kept_entries, manifest
from .palette import FILE_NAME as PALETTE_NAME
from .palette import (
    Palette,
    describe_palette,
    make_palette,
    npy_bytes,
    read_palette,
    verify_palette,
)
from .precision import convert
from .preview import AnyDecoder, PreviewDecoder
from .progress import Progress, unreported
from .settings import OPSETS, PRECISIONS, Settings
from .verify import TOLERANCES, Reference, verify
from .vqgan import VQGANDecoder


@dataclass(frozen=True)
class Taught:
    """A small decoder and a palette that were taught on grids, and how well they imitate.

    The decoder is written in each of ``precisions``.
    """

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
    on_progress: Progress = unreported,
    precisions: Sequence[str] = PRECISIONS[:1],
    force: bool = False,
    taught: Taught | None = None,
) -> list[Exported]:
    """Write a detokenizer of each precision, the previews, the palette and the manifest.

    ``folder`` is made if need be. All files appear together, and only after each has been verified;
    until then, and after any failure, whatever was there stays as it was. ``threads`` are ONNX
    Runtime's (0: all cores). ``force`` writes int8 however coarse it is. Raises CheckpointError,
    VerificationFailed or OSError.
    """
    module = build(checkpoint, settings)
    decoders = [_Decoder("full", module, precisions)]
    if taught is not None:
        decoders.append(
            _Decoder("preview", taught.module, taught.precisions, imitation=taught.imitation)
        )
    names = [name for decoder in decoders for name in decoder.file_names]
    names += [PALETTE_NAME, MANIFEST_NAME]
    with whole_files([folder / name for name in names], make_folders=True) as temporaries:
        tasks = {
            name: _Task(folder / name, pending)
            for name, pending in zip(names, temporaries, strict=True)
        }
        writer = _Writer(checkpoint, settings, opset, threads, force, on_progress)
        exported = [file for decoder in decoders for file in writer.write_decoder(decoder, tasks)]
        exported.append(writer.write_palette(tasks[PALETTE_NAME], module, taught))
        kept = kept_entries(folder, names, checkpoint.sha256)
        tasks[MANIFEST_NAME].pending.write_text(manifest(exported, kept), encoding="utf-8")
    return exported


@dataclass(frozen=True)
class _Decoder:
    """One module, and the precisions in which it is written."""

    kind: str
    module: AnyDecoder
    precisions: Sequence[str]
    imitation: Imitation | None = None  # of a taught one

    @property
    def file_names(self) -> list[str]:
        return [file_name(self.kind, precision) for precision in self.precisions]


@dataclass(frozen=True)
class _Task:
    """One file to write: it lies at ``pending`` until all are verified, then at ``target``."""

    target: Path
    pending: Path

    def record(self, data: bytes, metadata: dict[str, str], agreement: AnyAgreement) -> Exported:
        """The record of the file, whose bytes are ``data``."""
        digest = hashlib.sha256(data).hexdigest()
        return Exported(self.target, len(data), digest, metadata, agreement)


@dataclass(frozen=True)
class _Writer:
    """The settings that all files of an export share."""

    checkpoint: Checkpoint
    settings: Settings
    opset: int
    threads: int
    force: bool
    on_progress: Progress

    def write_decoder(self, decoder: _Decoder, tasks: dict[str, _Task]) -> Iterable[Exported]:
        """Trace the module once, then write and verify it in each precision."""
        reference = Reference(decoder.module)
        self.on_progress(f"tracing the {decoder.kind} graph", 0, 0)
        traced = to_onnx(decoder.module, self.opset)
        for precision in decoder.precisions:
            self.on_progress(f"writing {decoder.kind} {precision}", 0, 0)
            model = convert(traced, precision)
            metadata = describe(
                model,
                decoder.module,
                self.settings.name,
                self.checkpoint.sha256,
                precision,
                decoder.kind,
            )
            data = with_metadata(model, metadata)
            task = tasks[file_name(decoder.kind, precision)]
            task.pending.write_bytes(data)
            tolerance = TOLERANCES[precision]
            if self.force and precision == "int8":
                tolerance = dataclasses.replace(tolerance, psnr=0.0)
            agreement = verify(
                task.pending, reference, metadata, self.threads, self.on_progress, tolerance
            )
            if decoder.imitation is not None:
                agreement = PreviewAgreement(**vars(agreement), imitation=decoder.imitation)
            yield task.record(data, metadata, agreement)

    def write_palette(self, task: _Task, module: VQGANDecoder, taught: Taught | None) -> Exported:
        """Write the taught palette, or else that of endless planes, and read it back."""
        self.on_progress("mixing the palette", 0, 0)
        agreement: AnyAgreement
        if taught is not None:
            data = npy_bytes(taught.palette)
            task.pending.write_bytes(data)
            read_palette(task.pending, taught.palette.shape)
            agreement = taught.palette_imitation
        else:
            palette, statistics = make_palette(module)
            data = npy_bytes(palette)
            task.pending.write_bytes(data)
            agreement = verify_palette(task.pending, module, statistics)
        notes = describe_palette(module.shape, self.settings.name, self.checkpoint.sha256)
        return task.record(data, notes, agreement)
