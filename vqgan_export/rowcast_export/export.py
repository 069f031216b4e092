"""Export of a VQGAN decoder: ONNX files that any client can run, verified before they get names.

In a folder: ``detokenizer.onnx`` (fp32), ``detokenizer.fp16.onnx`` and ``detokenizer.int8.onnx``
(see ``detokenizer_file.py`` and ``precision.py``), where a small decoder was taught
``preview.onnx`` and so on (see ``distill/``) and its flat weights ``preview.fp16.bin`` and
``preview.int8.bin`` (see ``preview/weights.py``), ``palette.npy`` (see ``palette.py``) and
``manifest.json``, which lists the others with their sizes, sha256, metadata and measured agreement.
Files of the same decoder that an earlier export wrote into the folder, and that nobody has changed
since, stay on the list. Exporting the same checkpoint twice gives the same bytes.

This module must not know about the command line, nor what a client does with the files.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onnx import ModelProto
from rowcast.whole_files import whole_files

from .agreements import AnyAgreement, Imitation, PreviewAgreement
from .building import build
from .detokenizer_file import describe, file_name, with_metadata
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
from .preview.decoder import AnyDecoder, PreviewDecoder
from .preview.weights import KIND as WEIGHTS
from .preview.weights import PRECISIONS as WEIGHTS_PRECISIONS
from .preview.weights import file_name as weights_name
from .preview.weights import write_preview_weights
from .progress import Progress
from .settings import FORMAT_VERSION, OPSETS, PRECISIONS, Settings
from .tracing import to_onnx
from .verify import TOLERANCES, Reference, verify, verify_weights
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
    on_progress: Progress = lambda *_: None,
    precisions: Sequence[str] = PRECISIONS[:1],
    force: bool = False,
    taught: Taught | None = None,
) -> list[Exported]:
    """Write a detokenizer of each precision, the previews, the palette and the manifest.

    Without ``precisions`` those of an earlier export stay as they are.
    ``folder`` is made if need be. All files appear together, and only after each has been verified;
    until then, and after any failure, whatever was there stays as it was. ``threads`` are ONNX
    Runtime's (0: all cores). ``force`` writes int8 however coarse it is. Raises CheckpointError,
    VerificationFailed or OSError.
    """
    module = build(checkpoint, settings)
    names = [file_name("full", precision) for precision in precisions]
    if taught is not None:
        names += [file_name("preview", precision) for precision in taught.precisions]
        names += [weights_name(precision) for precision in WEIGHTS_PRECISIONS]
    names += [PALETTE_NAME, MANIFEST_NAME]
    with whole_files([folder / name for name in names], make_folders=True) as temporaries:
        pending = dict(zip(names, temporaries, strict=True))
        writer = _Writer(checkpoint, settings, opset, threads, force, on_progress, folder, pending)
        exported = list(writer.write_decoder("full", module, precisions)) if precisions else []
        if taught is not None:
            exported += writer.write_decoder(
                "preview", taught.module, taught.precisions, taught.imitation
            )
            exported += writer.write_weights(taught.module, taught.imitation)
        exported.append(writer.write_palette(module, taught))
        kept = kept_entries(folder, names, checkpoint.sha256)
        pending[MANIFEST_NAME].write_text(manifest(exported, kept), encoding="utf-8")
    return exported


@dataclass(frozen=True)
class _Writer:
    """The settings that all files of an export share."""

    checkpoint: Checkpoint
    settings: Settings
    opset: int
    threads: int
    force: bool
    on_progress: Progress
    folder: Path
    pending: dict[str, Path]  # where each file lies until all are verified
    graphs: dict[str, tuple[Reference, ModelProto]] = field(default_factory=dict)  # by their kind

    def write_decoder(
        self,
        kind: str,
        module: AnyDecoder,
        precisions: Sequence[str],
        imitation: Imitation | None = None,  # of a taught one
    ) -> Iterable[Exported]:
        """Write and verify the module in each precision."""
        reference, traced = self._traced(kind, module)
        for precision in precisions:
            name = file_name(kind, precision)
            self.on_progress(f"writing {kind} {precision}", 0, 0)
            model = convert(traced, precision)
            model_name, sha256 = self.settings.name, self.checkpoint.sha256
            metadata = describe(model, module, model_name, sha256, precision, kind)
            data = with_metadata(model, metadata)
            self.pending[name].write_bytes(data)
            tolerance = TOLERANCES[precision]
            if self.force and precision == "int8":
                tolerance = dataclasses.replace(tolerance, psnr=0.0)
            agreement = verify(
                self.pending[name], reference, metadata, self.threads, self.on_progress, tolerance
            )
            if imitation is not None:
                agreement = PreviewAgreement(**vars(agreement), imitation=imitation)
            yield self._record(name, data, metadata, agreement)

    def write_weights(self, module: PreviewDecoder, imitation: Imitation) -> Iterable[Exported]:
        """Write and verify the flat weights of the preview, in each of their precisions."""
        reference, traced = self._traced("preview", module)
        for precision in WEIGHTS_PRECISIONS:
            name = weights_name(precision)
            self.on_progress(f"writing preview weights {precision}", 0, 0)
            data = write_preview_weights(convert(traced, precision), module.sizes)
            self.pending[name].write_bytes(data)
            tolerance = TOLERANCES[precision]
            if self.force:
                tolerance = dataclasses.replace(tolerance, psnr=0.0)
            agreement = verify_weights(
                self.pending[name], reference, precision, self.on_progress, tolerance
            )
            notes = {
                "rowcast.format": FORMAT_VERSION,
                "rowcast.kind": WEIGHTS,
                "rowcast.precision": precision,
                "rowcast.model": self.settings.name,
                "rowcast.codebook_size": str(module.shape.codebook_size),
                "rowcast.pixels_per_token": str(module.shape.pixels_per_token),
                "rowcast.source_sha256": self.checkpoint.sha256,
            }
            told = PreviewAgreement(**vars(agreement), imitation=imitation)
            yield self._record(name, data, notes, told)

    def write_palette(self, module: VQGANDecoder, taught: Taught | None) -> Exported:
        """Write the taught palette, or else that of endless planes, and read it back."""
        self.on_progress("mixing the palette", 0, 0)
        palette, statistics = (taught.palette, {}) if taught else make_palette(module)
        data = npy_bytes(palette)
        path = self.pending[PALETTE_NAME]
        path.write_bytes(data)
        agreement: AnyAgreement
        if taught is not None:
            read_palette(path, palette.shape)
            agreement = taught.palette_imitation
        else:
            agreement = verify_palette(path, module, statistics)
        notes = describe_palette(module.shape, self.settings.name, self.checkpoint.sha256)
        return self._record(PALETTE_NAME, data, notes, agreement)

    def _traced(self, kind: str, module: AnyDecoder) -> tuple[Reference, ModelProto]:
        """The module to compare with, and its graph, which takes seconds to trace."""
        if kind not in self.graphs:
            self.on_progress(f"tracing the {kind} graph", 0, 0)
            self.graphs[kind] = Reference(module), to_onnx(module, self.opset)
        return self.graphs[kind]

    def _record(
        self, name: str, data: bytes, metadata: dict[str, str], agreement: AnyAgreement
    ) -> Exported:
        digest = hashlib.sha256(data).hexdigest()
        return Exported(self.folder / name, len(data), digest, metadata, agreement)
