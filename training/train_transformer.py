"""Training of postcard's transformer: captions to grids of image tokens.

Each step words its scenes anew; one caption in ten is replaced by the unconditional stream, which
is what guidance needs.

    python -m training.train_transformer --minutes 60      # resumes by itself
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from training.captions import Captioner, write_vocabulary
from training.loop import Average, Schedule, StopFlag, load_checkpoint, save_checkpoint
from training.reading import attribute_readers, binding_loss, noun_sites, reading_loss
from training.tokenize_scenes import DEFAULT_TOKENS, load_scenes
from training.transformer import SIDE, CaptionToTokens

DEFAULT_RUN = Path("training/runs/transformer")
DEFAULT_TEXT = Path("training/runs/text")


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
        torch.autograd.backward(loss + arguments.reading * torch.stack(heard).sum())
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
