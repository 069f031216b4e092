"""Training of postcard's image tokenizer: 128x128 pixels to 16x16 codes and back.

Crops of 64 pixels come first (many cheap steps), whole pictures after `--crop-share` of the time.
Once the tokens are made, the decoder may go on learning alone.

    python -m training.train_vqgan --minutes 30            # resumes by itself
    python -m training.train_vqgan --decoder-only --start-from training/runs/vqgan \\
        --run training/runs/detokenizer --minutes 10 --crop-share 0 --rate 5e-4
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from rowcast_export.vqgan import VQGANDecoder
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from tqdm import tqdm

from training.loop import Average, Schedule, StopFlag, load_checkpoint, save_checkpoint
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
from training.scenes import sample_scene

DEFAULT_RUN = Path("training/runs/vqgan")
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
    generator = np.random.default_rng(seed)
    scenes = (sample_scene(generator, held_out) for _ in range(count))
    return np.stack([render(scene) for scene in tqdm(scenes, "rendering", count, mininterval=10)])


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


def train(arguments: argparse.Namespace) -> None:
    """Run or resume the training."""
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    checkpoint: Path = arguments.run / "checkpoint.pt"
    model = convert_conv2d_weight_memory_format(Autoencoder(), torch.channels_last)
    if arguments.start_from is not None and not checkpoint.exists():
        model.load_state_dict(load_checkpoint(arguments.start_from / "checkpoint.pt")["average"])
    if arguments.decoder_only:
        model.encoder_frozen = True
        model.encoder.requires_grad_(False)
    average = Average(model, arguments.average)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    schedule = Schedule(arguments.rate, arguments.steps, arguments.minutes, warmup=200)
    if checkpoint.exists():
        state = load_checkpoint(checkpoint)
        model.load_state_dict(state["model"])
        average.module.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.step, schedule.seconds_before = state["step"], state["seconds"]
        print(f"resumed at step {schedule.step}", flush=True)
    bank = cached_bank(arguments.run / "bank.npy", arguments.scenes, arguments.seed)
    fresh = render_bank(64, arguments.seed + 10_000, held_out=None)
    generator = np.random.default_rng(arguments.seed + schedule.step)
    run = torch.compile(model, dynamic=False) if arguments.compile else model
    stop = StopFlag()
    bar = tqdm(initial=schedule.step, unit="step", mininterval=10)
    schedule.started = time.monotonic()  # rendering does not count
    while schedule.progress < 1 and not stop.raised:
        side = 64 if schedule.progress < arguments.crop_share else 128
        chosen = bank[generator.integers(len(bank), size=BATCH[side])]
        top, left = 8 * generator.integers(0, (128 - side) // 8 + 1, size=2)
        pixels = as_pixels(chosen[:, top : top + side, left : left + side])
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        for group in optimiser.param_groups:
            group["lr"] = schedule.learning_rate
        with torch.autocast("cpu", torch.bfloat16):
            loss = run(pixels)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        average.update(model, schedule.step)
        schedule.step += 1
        bar.update()
        if schedule.step % arguments.every == 0 or schedule.progress >= 1 or stop.raised:
            quality = psnr(average.module, fresh)
            print(
                f"step {schedule.step} minute {schedule.seconds / 60:.1f} side {side} "
                f"loss {loss.item():.4f} psnr {quality:.2f} rate {schedule.learning_rate:.2e}",
                flush=True,
            )
            save_checkpoint(
                checkpoint,
                model=model.state_dict(),
                average=average.module.state_dict(),
                optimiser=optimiser.state_dict(),
                step=schedule.step,
                seconds=schedule.seconds,
                psnr=quality,
            )


def load_autoencoder(run: Path = DEFAULT_RUN) -> Autoencoder:
    """The averaged weights of a run, in eval mode."""
    model = Autoencoder()
    model.load_state_dict(load_checkpoint(run / "checkpoint.pt")["average"])
    return model.eval()


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=DEFAULT_RUN, help="folder of the checkpoint")
    parser.add_argument("--start-from", type=Path, help="begin with the weights of this other run")
    parser.add_argument(
        "--decoder-only",
        action="store_true",
        help="keep the encoder as it is, so that tokens made with it stay valid",
    )
    parser.add_argument("--minutes", type=float, default=30, help="wall-clock budget (default 30)")
    parser.add_argument("--steps", type=int, default=40000, help="most steps (default 40000)")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--average", type=float, default=0.998, help="decay of averaged weights")
    parser.add_argument("--crop-share", type=float, default=0.45, help="share spent on 64 px crops")
    parser.add_argument("--scenes", type=int, default=16000, help="training scenes rendered")
    parser.add_argument("--every", type=int, default=500, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
