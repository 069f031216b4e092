"""Training of postcard's transformer: captions to grids of image tokens.

Each step words its scenes anew; one caption in ten is replaced by the unconditional stream, which
is what guidance needs.

    python -m training.train_transformer --minutes 60      # resumes by itself
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.captions import Captioner, write_vocabulary
from training.loop import (
    CHECKPOINT,
    Training,
    load_average,
    load_checkpoint,
    parse_training,
    training_options,
)
from training.reading import attribute_readers, binding_loss, noun_sites, reading_loss
from training.tokenize_scenes import DEFAULT_TOKENS, load_scenes
from training.transformer import SIDE, CaptionToTokens

DEFAULT_RUN = Path("training/runs/transformer")
DEFAULT_TEXT = Path("training/runs/text")
OPTIONS = {
    **training_options(DEFAULT_RUN, minutes=60.0, steps=100_000, rate=2e-3, every=250),
    "start-from": (Path, "begin with the weights of this other run"),
    "text-encoder": (Path, "then take the encoder from this file of train_text"),
    "tokens": (DEFAULT_TOKENS, "from tokenize_scenes"),
    "text": (DEFAULT_TEXT, "where the BPE goes"),
    "batch": (16, "pictures a step"),
    "average": (0.998, "decay of averaged weights"),
    "dropout": (0.1, "share of captions dropped"),
    "reading": (0.5, "weight of the reading losses"),
    "hide": (0.25, "share of pictures with hidden input tokens"),
    "compile": (True, "compile the network"),
}


def hide_tokens(batch: int, share: float, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The input tokens to hide, bool [batch, 256], and the pictures' weights in the loss.

    In the first `share` of the batch, 30 % to all of a picture's tokens are hidden. A neighbour
    that shows the colour of a house makes the caption superfluous; one that is hidden does not.
    """
    count = round(batch * share)
    ratios = np.zeros((batch, 1))
    ratios[:count, 0] = generator.uniform(0.3, 1.0, count)
    hidden = torch.from_numpy(generator.random((batch, SIDE * SIDE)) < ratios)
    weights = torch.ones(batch)
    weights[:count] = 0.5
    return hidden, weights


@torch.no_grad()
def validation_loss(model: CaptionToTokens, text: Tensor, tokens: Tensor) -> float:
    """Mean loss over the validation set."""
    losses = []
    for start in range(0, len(text), 32):
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(model(text[start : start + 32], tokens[start : start + 32])[0].mean())
    return float(torch.stack(losses).mean())


def load_transformer(run: Path = DEFAULT_RUN) -> CaptionToTokens:
    """The averaged weights of a run, in eval mode."""
    return load_average(CaptionToTokens(load_checkpoint(run / CHECKPOINT)["vocabulary"]), run)


def main() -> None:
    """Run or resume the training."""
    arguments = parse_training(__doc__, OPTIONS)
    tokenizer = write_vocabulary(arguments.text)
    model = CaptionToTokens(len(tokenizer.vocab))
    if arguments.start_from is not None:
        load_average(model, arguments.start_from).train()
    if arguments.text_encoder is not None:
        model.encoder.load_state_dict(load_checkpoint(arguments.text_encoder)["encoder"])
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": 0.03},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    readers = attribute_readers(model.encoder.shape.width)
    reader_optimiser = torch.optim.AdamW(readers.parameters(), lr=1e-3, betas=(0.9, 0.98))

    def teach_readers(*_: object) -> None:  # at a rate of their own, unclipped
        reader_optimiser.step()
        reader_optimiser.zero_grad()

    optimiser.register_step_post_hook(teach_readers)
    decay: float = arguments.average
    training = Training(arguments, model, optimiser, warmup=300, decay=decay, readers=readers)
    tokens = np.load(arguments.tokens / "train.npy")
    scenes = load_scenes(arguments.tokens / "train.jsonl")[: len(tokens)]
    held_tokens = torch.from_numpy(np.load(arguments.tokens / "validation.npy")[:256].astype(int))
    held_scenes = load_scenes(arguments.tokens / "validation.jsonl")[:256]
    held_text, _ = Captioner(tokenizer, 0.0)(held_scenes, np.random.default_rng(1))
    captioner = Captioner(tokenizer, arguments.dropout)
    sites = noun_sites(tokenizer)
    generator = np.random.default_rng(arguments.seed + training.schedule.step)
    count = sum(value.numel() for part in model.plain_state() for value in part.values())
    print(f"{count} parameters, {len(scenes)} scenes", flush=True)
    run = torch.compile(model, dynamic=False) if arguments.compile else model

    def loss(progress: float) -> Tensor:
        chosen = generator.integers(len(scenes), size=arguments.batch)
        text, targets = captioner([scenes[index] for index in chosen], generator)
        hiding = arguments.hide if progress < 0.85 else 0.0
        hidden, weights = hide_tokens(arguments.batch, hiding, generator)
        grids = torch.from_numpy(tokens[chosen].astype(np.int64))
        with torch.autocast("cpu", torch.bfloat16):
            losses, read = run(text, grids, readers, hidden)
        heard = [reading_loss(logits, targets) for logits in read[:2]]
        heard.append(binding_loss(read[2], text, sites, targets))
        value: Tensor = (losses * weights).mean() + arguments.reading * torch.stack(heard).sum()
        return value

    def measure(average: CaptionToTokens) -> tuple[str, dict[str, Any]]:
        held = validation_loss(average, held_text, held_tokens)
        pictures = training.schedule.step * arguments.batch
        facts = {"pictures": pictures, "vocabulary": len(tokenizer.vocab)}
        return f"validation {held:.4f}", {"validation": held, **facts}

    training.run(loss, measure)


if __name__ == "__main__":
    main()
