"""Knowledge distillation: a small decoder is trained to paint what the full one paints.

No image data: the full decoder's pictures of grids that the model drew are the truth (Hinton et al.
2015, arXiv:1503.02531, with pixels for logits). In a share of the steps the grids are cut after
some row, because previews are shown of such, and compared with those rows of the whole picture:
what is coming, not what the full decoder would make of the rows alone. The last grids of the file
are held out. Everything random follows from the seed and the number of the step, so a training that
was stopped and resumed ends with the same bits as one that was not (on one machine, if it is
bounded by steps).

In the folder of a training: ``checkpoint.pt``, and ``references-….bin``, see ``references.py``.
This module must not know ONNX, nor the command line.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from rowcast.whole_files import whole_file
from torch import Tensor

from ..agreements import Imitation
from ..errors import DistillError
from ..palette import Palette
from ..preview.decoder import PreviewDecoder, PreviewShape
from ..progress import Progress
from ..vqgan import VQGANDecoder
from .grids import Grids, Ids
from .palette_teaching import paint, teach_palette
from .references import Planes, reference_pictures
from .schedule import DistillOptions, Schedule, stop_asked

FORMAT: Final = 2
CHECKPOINT: Final = "checkpoint.pt"
HELD_OUT_SHARE: Final = 0.05
MOST_HELD_OUT: Final = 200
WATCHED: Final = 16  # of the held-out grids, while training
CUT_SHARE: Final = 1 / 3  # of the steps
WARM_UP_STEPS: Final = 100
SLOWEST: Final = 0.01  # of the learning rate, at the end
LARGEST_GRADIENT: Final = 1.0
EDGE_WEIGHT: Final = 0.5
SAVE_SECONDS: Final = 60.0


class Distillation:
    """A training run, kept in ``folder``. ``source_sha256`` names the full decoder's checkpoint.

    Raises DistillError where the folder's checkpoint is damaged, or of another training.
    """

    def __init__(
        self,
        full: VQGANDecoder,
        grids: Grids,
        folder: Path,
        source_sha256: str,
        options: DistillOptions,
    ) -> None:
        self.options = options
        self.schedule = Schedule(
            options.learning_rate, options.steps, options.minutes, WARM_UP_STEPS, SLOWEST
        )
        self._device = torch.device(options.device)
        self._full = full
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.preview = PreviewDecoder(PreviewShape.of(full.shape))
        self.preview.begin_from(full)
        self.preview.to(self._device)
        self._optimizer = torch.optim.AdamW(
            self.preview.parameters(), options.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4
        )
        self._identity = {
            "format": FORMAT,
            "decoder": source_sha256,
            "grids": grids.sha256,
            "shape": repr(self.preview.shape),
            "batch": options.batch,
            "learning rate": options.learning_rate,
            "seed": options.seed,
        }
        self._path = folder / CHECKPOINT
        if self._path.exists():
            self._load()
        held_out = min(MOST_HELD_OUT, max(1, int(len(grids.ids) * HELD_OUT_SHARE)))
        self._taught = len(grids.ids) - held_out  # the first so many
        self._ids = grids.ids
        name = hashlib.sha256(f"{source_sha256} {grids.sha256}".encode())
        self._references = folder / f"references-{name.hexdigest()[:16]}.bin"
        self._pictures: Planes  # of all grids, once ``run`` has them

    def run(self, on_progress: Progress = lambda *_: None) -> Imitation:
        """Train to the end, and compare on the grids held out. ``preview`` is then on the CPU.

        Ctrl-C ends the step that runs, saves, and raises KeyboardInterrupt; a second one does not
        wait. Raises DistillError, or OSError where something cannot be saved.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._full.to(self._device)
        try:
            self._pictures = reference_pictures(
                self._references, self._full, self._ids, self._device, on_progress
            )
        finally:
            self._full.cpu()
        self._train(on_progress)
        on_progress("comparing with the grids held out", self.schedule.step, self.schedule.step)
        self.preview.eval()
        found = self._compare(len(self._ids) - self._taught)
        self.preview.cpu()
        return found

    def teach_palette(self, plane: Palette) -> tuple[Palette, Imitation]:
        """A palette taught on the same grids, and how near its pictures come; after ``run``.

        ``plane`` [codes, 1, 1, 3] is for the codes that none of them has.
        """
        taught = slice(self._taught)
        palette = teach_palette(plane, self._ids[taught], self._pictures[taught])
        side = self.preview.shape.pixels_per_token
        return palette, self._imitation(
            len(self._ids) - self._taught, lambda ids: paint(palette, ids, side)
        )

    def _train(self, on_progress: Progress) -> None:
        schedule = self.schedule
        saved = schedule.seconds
        what = "training"
        schedule.begin()
        with stop_asked() as is_stopping:
            while not is_stopping() and schedule.progress < 1:
                loss = self._take_step()
                if schedule.seconds - saved > SAVE_SECONDS:
                    self._save()
                    saved = schedule.seconds
                    watched = self._compare(min(WATCHED, len(self._ids) - self._taught))
                    what = f"training, {watched.psnr_db_median:.1f} dB"
                on_progress(f"{what}, loss {loss:.5f}", schedule.step, schedule.steps)
            self._save()
            if is_stopping():
                raise KeyboardInterrupt

    def _take_step(self) -> float:
        """Train on one batch; returns its loss. Raises DistillError where that is not finite."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate
        ids, wanted = self._batch()
        self.preview.train()
        with torch.enable_grad():  # some programs turn gradients off for good
            loss = imitation_loss(self.preview.unclipped(ids), wanted)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DistillError(
                f"the loss is {value} at step {self.schedule.step}, so training ends; {self._path} "
                "keeps the last checkpoint. Begin anew in another --run with a smaller "
                "--learning-rate"
            )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.preview.parameters(), LARGEST_GRADIENT)
        self._optimizer.step()
        self.schedule.advance()
        return value

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Ids [batch, rows, cols], perhaps cut after some row, and the pixels of those rows."""
        generator = np.random.default_rng((self.options.seed, self.schedule.step))
        rows = rows_shown(self._ids.shape[1], generator)
        chosen = generator.integers(self._taught, size=self.options.batch)
        ids = torch.from_numpy(self._ids[chosen, :rows])
        height = rows * self.preview.shape.pixels_per_token
        wanted = torch.from_numpy(self._pictures[chosen, :, :height])
        return ids.to(self._device), wanted.to(self._device)

    @torch.inference_mode()
    def _compare(self, count: int) -> Imitation:
        """Compare the small decoder with the full one on the first ``count`` grids held out."""

        def decode(ids: Ids) -> Planes:
            pixels = self.preview(torch.from_numpy(ids[None]).to(self._device))[0]
            planes: Planes = (pixels * 255).floor().to(torch.uint8).cpu().numpy()
            return planes

        return self._imitation(count, decode)

    def _imitation(self, count: int, decode: Callable[[Ids], Planes]) -> Imitation:
        squares = []
        for index in range(self._taught, self._taught + count):
            seen = decode(self._ids[index]).astype(np.float64)
            squares.append(float(np.square(seen - self._pictures[index]).mean()))
        return Imitation.of(np.array(squares))

    def _save(self) -> None:
        state = {
            "identity": self._identity,
            "step": self.schedule.step,
            "seconds": self.schedule.seconds,
            "preview": self.preview.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        with whole_file(self._path) as pending:
            torch.save(state, pending)

    def _load(self) -> None:
        """Resume from the folder's checkpoint."""
        try:
            state: Mapping[str, Any] = torch.load(
                self._path, map_location=self._device, weights_only=True
            )
            identity = state["identity"]
            differing = [key for key in self._identity if identity[key] != self._identity[key]]
            if not differing:
                self.preview.load_state_dict(state["preview"])
                self._optimizer.load_state_dict(state["optimizer"])
                self.schedule.step = int(state["step"])
                self.schedule.seconds = float(state["seconds"])
        except OSError:
            raise
        except Exception as error:  # torch's reader raises whatever its bytes lead it to
            reason = str(error).partition("\n")[0]
            raise DistillError(
                f"{self._path} is no checkpoint of a training, or is damaged ({reason}); remove it "
                "to begin anew"
            ) from error
        if differing:
            raise DistillError(
                f"{self._path} is of another training: its {' and its '.join(differing)} differ; "
                "choose another folder with --run, or remove it to begin anew"
            )


def rows_shown(rows: int, generator: np.random.Generator) -> int:
    """Number of rows that a step shows of its grids: all, but in ``CUT_SHARE`` of the steps."""
    if rows > 1 and generator.random() < CUT_SHARE:
        return int(generator.integers(1, rows))
    return rows


def imitation_loss(pixels: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error of pixels, and of the gradients from pixel to pixel.

    ``pixels`` float [batch, 3, height, width], 1 is white; ``wanted`` uint8. The gradients keep
    edges sharp where the colours are not right yet.
    """
    # The middle of what is cut to this uint8: floor(x * 255) is then right on both sides.
    truth = (wanted.float() + 0.5) / 255
    apart = pixels - truth
    across = apart[..., 1:] - apart[..., :-1]
    down = apart[..., 1:, :] - apart[..., :-1, :]
    edges = across.square().mean() + down.square().mean()
    return apart.square().mean() + EDGE_WEIGHT * edges
