"""Pre-training of the text encoder on captions alone: what belongs to what, in a minute.

python -m training.train_text                          # training/runs/text-encoder/checkpoint.pt
python -m training.train_transformer --text-encoder training/runs/text-encoder/checkpoint.pt
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.attributes import HEADS
from training.captions import Captioner, write_vocabulary
from training.loop import Training, load_average, parse_training, training_options
from training.reading import attribute_reader, binding_loss, noun_sites, reading_loss
from training.scenes import sample_scene
from training.train_transformer import DEFAULT_TEXT
from training.transformer import CaptionToTokens, look_around

DEFAULT_RUN = Path("training/runs/text-encoder")
OPTIONS = {
    **training_options(DEFAULT_RUN, minutes=1.0, steps=100_000, rate=2e-3, every=100),
    "start-from": (Path, "a run of train_transformer to begin with"),
    "text": (DEFAULT_TEXT, "where the BPE goes"),
}
BATCH = 64


def main() -> None:
    """Run or resume the training."""
    arguments = parse_training(__doc__, OPTIONS)
    tokenizer = write_vocabulary(arguments.text)
    model = CaptionToTokens(len(tokenizer.vocab))
    if arguments.start_from is not None:
        look_around(load_average(model, arguments.start_from).encoder)
    encoder = model.encoder.train()
    start_reader, reader = (attribute_reader(encoder.shape.width) for _ in range(2))
    sites = noun_sites(tokenizer)
    modules = nn.ModuleList([encoder, start_reader, reader])
    optimiser = torch.optim.AdamW(modules.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    training = Training(arguments, modules, optimiser, warmup=50, decay=0.998)
    captioner = Captioner(tokenizer, dropout=0.0)
    generator = np.random.default_rng(arguments.seed + training.schedule.step)
    parts = {}

    def loss(progress: float) -> Tensor:
        scenes = [sample_scene(generator, held_out=False) for _ in range(BATCH)]
        text, targets = captioner(scenes, generator)
        with torch.autocast("cpu", torch.bfloat16):
            states = encoder(text)
            at_start, at_nouns = start_reader(states[:, 0]), reader(states)
        parts["at <s>"] = reading_loss(at_start, targets) * len(HEADS)
        parts["at nouns"] = binding_loss(at_nouns, text, sites, targets)
        return parts["at <s>"] + parts["at nouns"]

    def measure(average: nn.ModuleList) -> tuple[str, dict[str, Any]]:
        words = " ".join(f"{name} {value.item():.4f}" for name, value in parts.items())
        return words, {"encoder": encoder.state_dict()}

    training.run(loss, measure)


if __name__ == "__main__":
    main()
