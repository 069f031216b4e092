"""Training of the judge: a small classifier that reads a scene's attributes off its picture.

It sees renders only, blurred, noisy, shifted in colour and coarse at random so that it reads shapes
and hues rather than exact pixels; it never sees a generated or reconstructed picture.

    python -m training.train_classifier --minutes 8        # resumes by itself
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format
from tqdm import tqdm

from training.attributes import HEADS, SIZES, attributes, labels
from training.loop import Training, load_average, parse_training, training_options
from training.rendering import as_pixels, render
from training.scenes import sample_scene, sample_scenes

DEFAULT_RUN = Path("training/runs/classifier")
OPTIONS = {
    **training_options(DEFAULT_RUN, minutes=8.0, steps=20_000, rate=2e-3, every=200),
    "batch": (48, "pictures a step"),
    "scenes": (16_000, "renders to train on"),
}


class Classifier(nn.Module):
    """Pixels [batch, 3, 128, 128] in 0..1 to one row of logits per head."""

    def __init__(self) -> None:
        super().__init__()
        widths = (48, 64, 96, 128)
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        channels = 12
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
            channels = width
        self.trunk = nn.Sequential(*layers)  # [batch, 128, 4, 4]
        self.hidden = nn.Linear(channels * 16, 256)
        self.heads = nn.Linear(256, sum(SIZES))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Logits [batch, values] for each head, in the order of HEADS."""
        hidden = F.relu(self.hidden(self.trunk(pixels * 2 - 1).flatten(1)))
        return torch.split(self.heads(hidden), SIZES, dim=1)


def blemish(pixels: Tensor, generator: np.random.Generator) -> Tensor:
    """Augmentation of pixels [batch, 3, 128, 128]: shifted colours, blur or coarseness, noise."""
    batch = pixels.shape[0]

    def uniform(low: float, high: float, *size: int) -> Tensor:
        return torch.from_numpy(generator.uniform(low, high, size)).float()

    gain, shift = uniform(0.92, 1.08, batch, 3, 1, 1), uniform(-0.04, 0.04, batch, 3, 1, 1)
    pixels = pixels * gain + shift
    kind = generator.random()
    if kind < 0.3:
        pixels = F.avg_pool2d(pixels, 3, stride=1, padding=1, count_include_pad=False)
    elif kind < 0.45:
        small = F.avg_pool2d(pixels, 2)
        pixels = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    noise = uniform(0, 0.05, batch, 1, 1, 1) * torch.randn(pixels.shape)
    patches = F.interpolate(torch.randn(batch, 3, 16, 16), scale_factor=8, mode="bilinear")
    return (pixels + noise + uniform(0, 0.04, batch, 1, 1, 1) * patches).clamp(0, 1)


@torch.no_grad()
def read_pictures(model: Classifier, pixels: Tensor, batch: int = 50) -> list[dict[str, str]]:
    """The attributes the judge sees in pixels [pictures, 3, 128, 128]."""
    found = []
    for start in range(0, len(pixels), batch):
        best = [logits.argmax(dim=1).tolist() for logits in model(pixels[start : start + batch])]
        for row in zip(*best, strict=True):
            pairs = zip(HEADS.items(), row, strict=True)
            found.append({kind: values[index] for (kind, values), index in pairs})
    return found


def accuracy_on_renders(model: Classifier, count: int, seed: int) -> dict[str, float]:
    """Share of right answers per head on `count` fresh renders, held-out pairs included."""
    scenes = sample_scenes(count, seed)
    found = read_pictures(model, as_pixels(np.stack([render(scene) for scene in scenes])))
    truth = [attributes(scene) for scene in scenes]
    return {
        kind: float(np.mean([a[kind] == b[kind] for a, b in zip(found, truth, strict=True)]))
        for kind in HEADS
    }


def load_classifier(run: Path = DEFAULT_RUN) -> Classifier:
    """The averaged weights of a run, in eval mode."""
    return load_average(Classifier(), run)


def main() -> None:
    """Run or resume the training."""
    arguments = parse_training(__doc__, OPTIONS)
    model = convert_conv2d_weight_memory_format(Classifier(), torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.01, fused=True)
    training = Training(arguments, model, optimiser, warmup=100, decay=0.995, clip=math.inf)
    generator = np.random.default_rng(arguments.seed + 77 + training.schedule.step)
    scenes = [sample_scene(generator) for _ in range(arguments.scenes)]
    images = np.stack([render(scene) for scene in tqdm(scenes, "rendering", mininterval=10)])
    answers = torch.tensor([labels(scene) for scene in scenes])

    def loss(progress: float) -> Tensor:
        chosen = generator.integers(len(images), size=arguments.batch)
        pixels = blemish(as_pixels(images[chosen]), generator)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = model(pixels.contiguous(memory_format=torch.channels_last))
        pairs = zip(outputs, answers[chosen].unbind(dim=1), strict=True)
        parts = [F.cross_entropy(logits.float(), right) for logits, right in pairs]
        return torch.stack(parts).sum()

    def measure(average: Classifier) -> tuple[str, dict[str, Any]]:
        share = accuracy_on_renders(average, 300, seed=5)
        worst = min(share, key=lambda kind: share[kind])
        mean = np.mean(list(share.values()))
        return f"accuracy {mean:.4f} worst {worst} {share[worst]:.4f}", {}

    training.run(loss, measure)


if __name__ == "__main__":
    main()
