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
from rowcast_server.models.text import TextTokenizer, unconditional_ids
from rowcast_server.network.dalle_bart import (
    DalleBartDecoder,
    DalleBartEncoder,
    TransformerShape,
    text_mask,
)
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from tqdm import tqdm

from training.binding import attribute_reader, binding_loss, look_around, noun_sites
from training.captions import caption, write_vocabulary
from training.loop import Average, Schedule, StopFlag, load_checkpoint, save_checkpoint
from training.networks import CODEBOOK_SIZE, DIMENSIONS, LEVELS
from training.scenes import Scene
from training.tokenize_scenes import DEFAULT_TOKENS, load_scenes
from training.train_classifier import ABSENT, HEADS

DEFAULT_RUN = Path("training/runs/transformer")
DEFAULT_TEXT = Path("training/runs/text")
TEXT_LENGTH = 40  # captions take at most 33 tokens; shorter than 64 saves time, not results
SIDE = 16
START_TOKEN = CODEBOOK_SIZE
READ_AFTER = 1  # the decoder layer whose states must say what the caption names
OBJECTS = ("house", "trees", "sail", "balloon")  # absent unless named


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
        look_around(self.encoder)
        with torch.no_grad():
            self.decoder.embed_positions.weight.copy_(0.07 * grid_waves(SIDE, encoder_shape.width))
        for table in (self.decoder.embed_tokens, self.decoder.lm_head):
            rows, width = table.weight.shape
            parametrize.register_parametrization(table, "weight", DigitTable(rows, width))

    def forward(
        self,
        text: Tensor,
        tokens: Tensor,
        readers: nn.ModuleList | None = None,
        hidden: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Mean cross-entropy in nats, [batch], of tokens [batch, 256] given text ids [batch, n].

        Where `hidden` [batch, 256] is true the decoder does not see the token before. With
        `readers`, also their logits: [batch, attributes] of the encoder's state of `<s>`,
        [batch, 256, attributes] of the decoder's states after the layer READ_AFTER, and
        [batch, n, attributes] of all of the encoder's states.
        """
        start = torch.full_like(tokens[:, :1], START_TOKEN)
        previous = torch.cat([start, tokens[:, :-1]], dim=1)
        if hidden is not None:
            previous = previous.masked_fill(hidden, START_TOKEN)
        states = self.decoder.embed(previous)
        memory, mask = self.encoder(text), text_mask(text)
        read: tuple[Tensor, ...] = ()
        for index, layer in enumerate(self.decoder.layers):
            states = layer(states, layer.encoder_attn.keys_values(memory), mask)
            if readers is not None and index == READ_AFTER:
                read = (readers[0](memory[:, 0]), readers[1](states), readers[2](memory))
        logits = self.decoder.lm_head(self.decoder.final_ln(states))
        losses = F.cross_entropy(logits.float().flatten(0, 1), tokens.flatten(), reduction="none")
        return losses.reshape(tokens.shape).mean(dim=1), read

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


def hide_tokens(batch: int, share: float, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Which input tokens to hide, bool [batch, 256], and the pictures' weights in the loss.

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


def attribute_readers(width: int) -> nn.ModuleList:
    """Training-only heads that read what the caption names off the encoder and the decoder.

    A colour is worth 2 nats in a picture of 180, so the loss of the tokens alone teaches the
    decoder to listen to it very late (NOTES.md); these heads make it listen early.
    """
    return nn.ModuleList(attribute_reader(width) for _ in range(3))


def reading_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over heads; logits [batch, ..., attributes], targets [batch, heads].

    Targets of -100 (not named by the caption) do not count.
    """
    total = logits.new_zeros((), dtype=torch.float32)
    parts = logits.float().split([len(values) for values in HEADS.values()], dim=-1)
    for part, target in zip(parts, targets.unbind(dim=1), strict=True):
        spread = part.reshape(len(part), -1, part.shape[-1])
        wanted = target[:, None].expand(spread.shape[:2])
        loss = F.cross_entropy(spread.flatten(0, 1), wanted.flatten(), reduction="sum")
        total = total + loss / wanted.numel()
    return total / len(parts)


def named_targets(named: dict[str, str]) -> list[int]:
    """What a caption says of each head: a value, absent for an object not named, or -100."""
    targets = []
    for kind, values in HEADS.items():
        part_of = {"house side": "house", "balloon side": "balloon", "tree count": "trees"}
        if kind in named:
            targets.append(values.index(named[kind]))
        elif kind in OBJECTS or part_of.get(kind, kind) not in {*named, kind}:
            targets.append(values.index(ABSENT))
        else:
            targets.append(-100)
    return targets


class Captioner:
    """Scenes to text ids, a new wording each time, some replaced by the unconditional stream."""

    def __init__(self, tokenizer: TextTokenizer, dropout: float) -> None:
        self.tokenizer, self.dropout = tokenizer, dropout
        tokenizer.pieces = lru_cache(maxsize=10_000)(tokenizer.pieces)  # type: ignore[method-assign]

    def __call__(
        self, scenes: list[Scene], generator: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Text ids int64 [scenes, TEXT_LENGTH] and what they name, int64 [scenes, heads]."""
        rows, targets = [], []
        for scene in scenes:
            text, named = caption(scene, generator)
            encoded = self.tokenizer.encode(text)
            assert encoded.length <= TEXT_LENGTH
            dropped = generator.random() < self.dropout
            rows.append((unconditional_ids() if dropped else encoded.ids)[:TEXT_LENGTH])
            targets.append([-100] * len(HEADS) if dropped else named_targets(named))
        return torch.from_numpy(np.stack(rows)), torch.tensor(targets)


@torch.no_grad()
def validation_loss(model: CaptionToTokens, text: Tensor, tokens: Tensor) -> float:
    """Mean loss over the validation set."""
    losses = []
    for start in range(0, len(text), 32):
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(model(text[start : start + 32], tokens[start : start + 32])[0].mean())
    return float(torch.stack(losses).mean())


def train(arguments: argparse.Namespace) -> None:
    """Run or resume the training."""
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    tokenizer = write_vocabulary(arguments.text)
    model = CaptionToTokens(len(tokenizer.vocab))
    if arguments.start_from is not None:
        model.load_state_dict(load_checkpoint(arguments.start_from / "checkpoint.pt")["average"])
    if arguments.text_encoder is not None:
        model.encoder.load_state_dict(load_checkpoint(arguments.text_encoder)["encoder"])
    average = Average(model, arguments.average)
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": 0.03},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    readers = attribute_readers(model.encoder.shape.width)
    reader_optimiser = torch.optim.AdamW(readers.parameters(), lr=1e-3, betas=(0.9, 0.98))
    schedule = Schedule(arguments.rate, arguments.steps, arguments.minutes, warmup=300)
    checkpoint: Path = arguments.run / "checkpoint.pt"
    if checkpoint.exists():
        state = load_checkpoint(checkpoint)
        model.load_state_dict(state["model"])
        average.module.load_state_dict(state["average"])
        if "readers" in state:
            readers.load_state_dict(state["readers"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.step, schedule.seconds_before = state["step"], state["seconds"]
    tokens = np.load(arguments.tokens / "train.npy")
    scenes = load_scenes(arguments.tokens / "train.jsonl")[: len(tokens)]
    held_tokens = torch.from_numpy(np.load(arguments.tokens / "validation.npy")[:256].astype(int))
    held_scenes = load_scenes(arguments.tokens / "validation.jsonl")[:256]
    held_text, _ = Captioner(tokenizer, 0.0)(held_scenes, np.random.default_rng(1))
    captioner = Captioner(tokenizer, arguments.dropout)
    sites = noun_sites(tokenizer)
    generator = np.random.default_rng(arguments.seed + schedule.step)
    count = sum(value.numel() for part in model.plain_state() for value in part.values())
    print(f"{count} parameters, {len(scenes)} scenes, step {schedule.step}", flush=True)
    run = torch.compile(model, dynamic=False) if arguments.compile else model
    stop, bar = StopFlag(), tqdm(initial=schedule.step, unit="step", mininterval=10)
    schedule.started = time.monotonic()
    while schedule.progress < 1 and not stop.raised:
        chosen = generator.integers(len(scenes), size=arguments.batch)
        text, targets = captioner([scenes[index] for index in chosen], generator)
        hiding = arguments.hide if schedule.progress < 0.85 else 0.0
        hidden, weights = hide_tokens(arguments.batch, hiding, generator)
        grids = torch.from_numpy(tokens[chosen].astype(np.int64))
        for group in optimiser.param_groups:
            group["lr"] = schedule.learning_rate
        with torch.autocast("cpu", torch.bfloat16):
            losses, read = run(text, grids, readers, hidden)
        loss = (losses * weights).mean()
        heard = [reading_loss(logits, targets) for logits in read[:2]]
        heard.append(binding_loss(read[2], text, sites, targets))
        (loss + arguments.reading * torch.stack(heard).sum()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        reader_optimiser.step()
        reader_optimiser.zero_grad()
        average.update(model, schedule.step)
        schedule.step += 1
        bar.update()
        if schedule.step % arguments.every == 0 or schedule.progress >= 1 or stop.raised:
            held = validation_loss(average.module, held_text, held_tokens)
            print(
                f"step {schedule.step} minute {schedule.seconds / 60:.1f} "
                f"seen {losses[-1].item():.3f} hidden {losses[0].item():.3f} "
                f"validation {held:.4f} rate {schedule.learning_rate:.2e} "
                f"reading {[round(value.item(), 3) for value in heard]}",
                flush=True,
            )
            save_checkpoint(
                checkpoint,
                model=model.state_dict(),
                average=average.module.state_dict(),
                readers=readers.state_dict(),
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
    parser.add_argument("--start-from", type=Path, help="begin with the weights of this other run")
    parser.add_argument(
        "--text-encoder", type=Path, help="then take the encoder from this file of train_text"
    )
    parser.add_argument("--tokens", type=Path, default=DEFAULT_TOKENS, help="from tokenize_scenes")
    parser.add_argument("--text", type=Path, default=DEFAULT_TEXT, help="where the BPE goes")
    parser.add_argument("--minutes", type=float, default=60, help="wall-clock budget (default 60)")
    parser.add_argument("--steps", type=int, default=100_000, help="most steps")
    parser.add_argument("--batch", type=int, default=16, help="pictures a step (default 16)")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--average", type=float, default=0.998, help="decay of averaged weights")
    parser.add_argument("--dropout", type=float, default=0.1, help="share of captions dropped")
    parser.add_argument("--reading", type=float, default=0.5, help="weight of the reading losses")
    parser.add_argument(
        "--hide", type=float, default=0.25, help="share of pictures with hidden input tokens"
    )
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
