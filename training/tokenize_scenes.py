"""Token grids of training scenes: rendered, and encoded by the frozen image encoder.

Captions are not stored: each epoch of the transformer words the same scene anew.

    python -m training.tokenize_scenes --count 60000       # training/runs/tokens/train-*.npy
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from tqdm import tqdm

from training.command_line import parse
from training.networks import quantise
from training.rendering import as_pixels, render
from training.scenes import Scene, sample_scenes
from training.train_vqgan import DEFAULT_RUN, load_autoencoder

DEFAULT_TOKENS = Path("training/runs/tokens")
OPTIONS = {
    "count": (60_000, "training scenes"),
    "validation": (512, "validation scenes"),
    "vqgan": (DEFAULT_RUN, "run of train_vqgan"),
    "output": (DEFAULT_TOKENS, "folder of the tokens"),
    "seed": (100, "of the scenes"),
    "threads": (2, "threads of torch"),
}
BATCH = 16


@torch.no_grad()
def tokenize(encoder: nn.Module, scenes: list[Scene], label: str) -> NDArray[np.uint16]:
    """uint16 [count, 256] of the scenes' pictures, row by row."""
    parts = []
    for start in tqdm(range(0, len(scenes), BATCH), label, mininterval=10):
        images = np.stack([render(scene) for scene in scenes[start : start + BATCH]])
        pixels = as_pixels(images).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            latent = encoder(pixels)
        parts.append(quantise(latent)[1].flatten(1).numpy().astype(np.uint16))
    return np.concatenate(parts)


def save_scenes(path: Path, scenes: list[Scene]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(asdict(scene)) + "\n" for scene in scenes))


def load_scenes(path: Path) -> list[Scene]:
    """Read what save_scenes wrote."""
    return [Scene(**json.loads(line)) for line in path.read_text().splitlines()]


def main() -> None:
    """Write train and validation tokens with their scenes."""
    arguments = parse(__doc__, OPTIONS)
    torch.set_num_threads(arguments.threads)
    encoder = convert_conv2d_weight_memory_format(
        load_autoencoder(arguments.vqgan).encoder, torch.channels_last
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, count, seed in (
        ("validation", arguments.validation, arguments.seed + 1),
        ("train", arguments.count, arguments.seed),
    ):
        scenes = sample_scenes(count, seed, held_out=False)
        tokens = tokenize(encoder, scenes, name)
        np.save(arguments.output / f"{name}.npy", tokens)
        save_scenes(arguments.output / f"{name}.jsonl", scenes)
        print(f"{name}: {len(tokens)} grids, {len(np.unique(tokens))} different codes")


if __name__ == "__main__":
    main()
