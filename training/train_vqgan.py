"""Training of postcard's image tokenizer: 128x128 pixels to 16x16 codes and back.

Crops of 64 pixels come first (many cheap steps), whole pictures after `--crop-share` of the time.
Once the tokens are made, the decoder may go on learning alone.

    python -m training.train_vqgan --minutes 30            # resumes by itself
    python -m training.train_vqgan --decoder-only --start-from training/runs/vqgan \\
        --run training/runs/detokenizer --minutes 10 --crop-share 0 --rate 5e-4
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from rowcast_export.vqgan import VQGANDecoder
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from tqdm import tqdm

from training.loop import Training, load_average, parse_training, training_options
from training.networks import (
    NORM_EPSILON,
    Encoder,
    code_table,
    decoder_shape,
    quantise,
    reconstruction_loss,
    repeat_pixels,
)
from training.painter import Pixels
from training.rendering import as_pixels, render
from training.scenes import sample_scenes

DEFAULT_RUN = Path("training/runs/vqgan")
OPTIONS = {
    **training_options(DEFAULT_RUN, minutes=30.0, steps=40_000, rate=1.5e-3, every=500),
    "start-from": (Path, "begin with the weights of this other run"),
    "decoder-only": (False, "keep the encoder as it is, so that tokens made with it stay valid"),
    "average": (0.998, "decay of averaged weights"),
    "crop-share": (0.45, "share spent on crops of 64 pixels"),
    "scenes": (16_000, "training scenes rendered"),
    "compile": (True, "compile the network"),
}
BATCH = {64: 16, 128: 8}  # pictures a step, by side in pixels


class Autoencoder(nn.Module):
    """Encoder, quantiser and decoder; the decoder's table is fixed to the lattice."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.encoder_frozen = False
        self.detokenizer = VQGANDecoder(decoder_shape(), (0.0, 1.0), NORM_EPSILON)
        self.detokenizer.embedding.weight.data.copy_(code_table())
        self.detokenizer.embedding.weight.requires_grad_(False)
        repeat_pixels(self.detokenizer)

    def forward(self, pixels: Tensor) -> Tensor:
        """Training loss of pixels [batch, 3, height, width] in 0..1."""
        with torch.set_grad_enabled(not self.encoder_frozen):
            vectors, _ = quantise(self.encoder(pixels))
        output = self.detokenizer.decode_vectors(vectors)
        return reconstruction_loss(output.float(), pixels)

    def tokens(self, pixels: Tensor) -> Tensor:
        """int64 ids [batch, rows, cols] of pixels [batch, 3, 8 rows, 8 cols]."""
        return quantise(self.encoder(pixels))[1]


def render_bank(count: int, seed: int, held_out: bool | None) -> Pixels:
    """uint8 [count, 128, 128, 3] of random scenes."""
    scenes = tqdm(sample_scenes(count, seed, held_out), "rendering", mininterval=10)
    return np.stack([render(scene) for scene in scenes])


def cached_bank(path: Path, count: int, seed: int) -> Pixels:
    """Training renders, kept in a file so that a resume starts at once."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, render_bank(count, seed, held_out=False))
    bank: Pixels = np.load(path)
    return bank


@torch.no_grad()
def psnr(model: Autoencoder, images: Pixels, batch: int = 16) -> float:
    """Mean over pictures of the peak signal-to-noise ratio in dB, through the quantised ids."""
    values = []
    for start in range(0, len(images), batch):
        pixels = as_pixels(images[start : start + batch])
        error = (model.detokenizer(model.tokens(pixels)) - pixels).square().mean(dim=(1, 2, 3))
        values.append(-10 * torch.log10(error))
    return float(torch.cat(values).mean())


def load_autoencoder(run: Path = DEFAULT_RUN) -> Autoencoder:
    """The averaged weights of a run, in eval mode."""
    return load_average(Autoencoder(), run)


def main() -> None:
    """Run or resume the training."""
    arguments = parse_training(__doc__, OPTIONS)
    model = convert_conv2d_weight_memory_format(Autoencoder(), torch.channels_last)
    if arguments.start_from is not None:
        load_average(model, arguments.start_from).train()
    if arguments.decoder_only:
        model.encoder_frozen = True
        model.encoder.requires_grad_(False)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    training = Training(arguments, model, optimiser, warmup=200, decay=arguments.average)
    bank = cached_bank(arguments.run / "bank.npy", arguments.scenes, arguments.seed)
    fresh = render_bank(64, arguments.seed + 10_000, held_out=None)
    generator = np.random.default_rng(arguments.seed + training.schedule.step)
    run = torch.compile(model, dynamic=False) if arguments.compile else model

    def loss(progress: float) -> Tensor:
        side = 64 if progress < arguments.crop_share else 128
        chosen = bank[generator.integers(len(bank), size=BATCH[side])]
        top, left = 8 * generator.integers(0, (128 - side) // 8 + 1, size=2)
        pixels = as_pixels(chosen[:, top : top + side, left : left + side])
        with torch.autocast("cpu", torch.bfloat16):
            value: Tensor = run(pixels.contiguous(memory_format=torch.channels_last))
        return value

    def measure(average: Autoencoder) -> tuple[str, dict[str, Any]]:
        quality = psnr(average, fresh)
        return f"psnr {quality:.2f}", {"psnr": quality}

    training.run(loss, measure)


if __name__ == "__main__":
    main()
