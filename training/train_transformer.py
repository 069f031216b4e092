"""Train postcard's transformer: captions to grids of image tokens.

Each step words its scenes anew; one caption in ten is replaced by the unconditional stream, which
is what guidance needs. Rows of the token tables are learnt as a free part plus a part shared by all
codes with the same lattice digit, since near codes look alike; what ships is their sum.

    python -m training.train_transformer --minutes 60      # resumes by itself
"""

from __future__ import annotations

import argparse
import math
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from rowcast_server.models.dalle_bart import (
    DalleBartDecoder,
    DalleBartEncoder,
    TransformerShape,
    text_mask,
)
from rowcast_server.models.text import TextTokenizer, unconditional_ids
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from tqdm import tqdm

from training.captions import caption, write_vocabulary
from training.loop import Average, Schedule, StopFlag, load_checkpoint, save_checkpoint
from training.networks import CODEBOOK_SIZE, DIMENSIONS, LEVELS
from training.scenes import Scene
from training.tokenize_scenes import DEFAULT_TOKENS, load_scenes

DEFAULT_RUN = Path("training/runs/transformer")
DEFAULT_TEXT = Path("training/runs/text")
TEXT_LENGTH = 40  # captions take at most 33 tokens; shorter than 64 saves time, not results
SIDE = 16
START_TOKEN = CODEBOOK_SIZE


def shapes(vocabulary: int) -> tuple[TransformerShape, TransformerShape]:
    """Encoder and decoder: 7.1 million parameters together."""
    encoder = TransformerShape(vocabulary, positions=64, width=256, glu_width=384, layers=2)
    decoder = TransformerShape(
        CODEBOOK_SIZE + 1, SIDE * SIDE, width=256, glu_width=512, layers=5, outputs=CODEBOOK_SIZE
    )
    return encoder, decoder


class DigitTable(nn.Module):
    """Adds to each row of a token table the sum of the vectors of its code's four digits."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        ids = torch.arange(CODEBOOK_SIZE)
        hot = torch.zeros(rows, DIMENSIONS * LEVELS)
        for dimension in range(DIMENSIONS):
            digit = ids // LEVELS**dimension % LEVELS
            hot[ids, dimension * LEVELS + digit] = 1.0
        self.register_buffer("hot", hot, persistent=False)
        self.digits = nn.Parameter(torch.randn(DIMENSIONS * LEVELS, width) * 0.02)

    def forward(self, free: Tensor) -> Tensor:
        """Free rows [rows, width] -> whole rows [rows, width]."""
        hot = self.hot
        assert isinstance(hot, Tensor)
        return free + hot @ self.digits


class CaptionToTokens(nn.Module):
    """Encoder and decoder as one trainable module."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        encoder_shape, decoder_shape = shapes(vocabulary)
        self.encoder = DalleBartEncoder(encoder_shape)
        self.decoder = DalleBartDecoder(decoder_shape)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.05)
        nn.init.normal_(self.decoder.lm_head.weight, std=0.02)
        with torch.no_grad():
            self.decoder.embed_positions.weight.copy_(0.07 * grid_waves(SIDE, encoder_shape.width))
        for table in (self.decoder.embed_tokens, self.decoder.lm_head):
            rows, width = table.weight.shape
            parametrize.register_parametrization(table, "weight", DigitTable(rows, width))

    def forward(self, text: Tensor, tokens: Tensor) -> Tensor:
        """Mean cross-entropy in nats of tokens [batch, 256] given text ids [batch, n]."""
        start = torch.full_like(tokens[:, :1], START_TOKEN)
        previous = torch.cat([start, tokens[:, :-1]], dim=1)
        logits = self.decoder(previous, self.encoder(text), text_mask(text))
        return F.cross_entropy(logits.float().flatten(0, 1), tokens.flatten())

    def plain_state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """State dicts of encoder and decoder under their plain names."""
        decoder = {}
        for key, value in self.decoder.state_dict().items():
            if "parametrizations" not in key:
                decoder[key] = value
        decoder["embed_tokens.weight"] = self.decoder.embed_tokens.weight.detach()
        decoder["lm_head.weight"] = self.decoder.lm_head.weight.detach()
        return dict(self.encoder.state_dict()), decoder


def grid_waves(side: int, width: int) -> Tensor:
    """Where positions start: sines and cosines of the row and of the column, [side^2, width]."""
    quarter = width // 4
    rates = math.pi / 2 * torch.exp(-math.log(64.0) * torch.arange(quarter) / quarter)
    angles = torch.arange(side)[:, None] * rates[None, :]
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)  # [side, width / 2]
    rows = waves[:, None, :].expand(side, side, -1)
    cols = waves[None, :, :].expand(side, side, -1)
    return torch.cat([rows, cols], dim=2).flatten(0, 1)


class Captioner:
    """Scenes to text ids, a new wording each time, some replaced by the unconditional stream."""

    def __init__(self, tokenizer: TextTokenizer, dropout: float) -> None:
        self.tokenizer, self.dropout = tokenizer, dropout
        tokenizer.pieces = lru_cache(maxsize=10_000)(tokenizer.pieces)  # type: ignore[method-assign]

    def __call__(self, scenes: list[Scene], generator: np.random.Generator) -> Tensor:
        """int64 [len(scenes), TEXT_LENGTH]."""
        rows = []
        for scene in scenes:
            encoded = self.tokenizer.encode(caption(scene, generator)[0])
            assert encoded.length <= TEXT_LENGTH
            dropped = generator.random() < self.dropout
            rows.append((unconditional_ids() if dropped else encoded.ids)[:TEXT_LENGTH])
        return torch.from_numpy(np.stack(rows))


@torch.no_grad()
def validation_loss(model: CaptionToTokens, text: Tensor, tokens: Tensor) -> float:
    """Mean loss over the validation set."""
    losses = []
    for start in range(0, len(text), 32):
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(model(text[start : start + 32], tokens[start : start + 32]))
    return float(torch.stack(losses).mean())


def train(arguments: argparse.Namespace) -> None:
    """Run or resume the training."""
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    tokenizer = write_vocabulary(arguments.text)
    model = CaptionToTokens(len(tokenizer.vocab))
    average = Average(model, arguments.average)
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": 0.03},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    schedule = Schedule(arguments.rate, arguments.steps, arguments.minutes, warmup=300)
    checkpoint: Path = arguments.run / "checkpoint.pt"
    if checkpoint.exists():
        state = load_checkpoint(checkpoint)
        model.load_state_dict(state["model"])
        average.module.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.step, schedule.seconds_before = state["step"], state["seconds"]
    tokens = np.load(arguments.tokens / "train.npy")
    scenes = load_scenes(arguments.tokens / "train.jsonl")[: len(tokens)]
    held_tokens = torch.from_numpy(np.load(arguments.tokens / "validation.npy")[:256].astype(int))
    held_scenes = load_scenes(arguments.tokens / "validation.jsonl")[:256]
    held_text = Captioner(tokenizer, 0.0)(held_scenes, np.random.default_rng(1))
    captioner = Captioner(tokenizer, arguments.dropout)
    generator = np.random.default_rng(arguments.seed + schedule.step)
    count = sum(value.numel() for part in model.plain_state() for value in part.values())
    print(f"{count} parameters, {len(scenes)} scenes, step {schedule.step}", flush=True)
    run = torch.compile(model, dynamic=False) if arguments.compile else model
    stop, bar = StopFlag(), tqdm(initial=schedule.step, unit="step", mininterval=10)
    schedule.started = time.monotonic()
    while schedule.progress < 1 and not stop.raised:
        chosen = generator.integers(len(scenes), size=arguments.batch)
        text = captioner([scenes[index] for index in chosen], generator)
        grids = torch.from_numpy(tokens[chosen].astype(np.int64))
        for group in optimiser.param_groups:
            group["lr"] = schedule.learning_rate
        with torch.autocast("cpu", torch.bfloat16):
            loss = run(text, grids)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        average.update(model, schedule.step)
        schedule.step += 1
        bar.update()
        if schedule.step % arguments.every == 0 or schedule.progress >= 1 or stop.raised:
            held = validation_loss(average.module, held_text, held_tokens)
            print(
                f"step {schedule.step} minute {schedule.seconds / 60:.1f} "
                f"loss {loss.item():.4f} validation {held:.4f} rate {schedule.learning_rate:.2e}",
                flush=True,
            )
            save_checkpoint(
                checkpoint,
                model=model.state_dict(),
                average=average.module.state_dict(),
                optimiser=optimiser.state_dict(),
                step=schedule.step,
                seconds=schedule.seconds,
                validation=held,
                pictures=schedule.step * arguments.batch,
                vocabulary=len(tokenizer.vocab),
            )


def load_transformer(run: Path = DEFAULT_RUN) -> CaptionToTokens:
    """The averaged weights of a run, in eval mode."""
    state = load_checkpoint(run / "checkpoint.pt")
    model = CaptionToTokens(state["vocabulary"])
    model.load_state_dict(state["average"])
    return model.eval()


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=DEFAULT_RUN, help="folder of the checkpoint")
    parser.add_argument("--tokens", type=Path, default=DEFAULT_TOKENS, help="from tokenize_scenes")
    parser.add_argument("--text", type=Path, default=DEFAULT_TEXT, help="where the BPE goes")
    parser.add_argument("--minutes", type=float, default=60, help="wall-clock budget (default 60)")
    parser.add_argument("--steps", type=int, default=100_000, help="most steps")
    parser.add_argument("--batch", type=int, default=16, help="pictures a step (default 16)")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--average", type=float, default=0.998, help="decay of averaged weights")
    parser.add_argument("--dropout", type=float, default=0.1, help="share of captions dropped")
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
