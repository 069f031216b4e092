"""Pre-training of the text encoder on captions alone: what belongs to what, in a minute.

python -m training.train_text                          # training/runs/text-encoder/checkpoint.pt
python -m training.train_transformer --text-encoder training/runs/text-encoder/checkpoint.pt
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from training.attributes import HEADS
from training.captions import Captioner, write_vocabulary
from training.loop import Schedule, StopFlag, load_checkpoint, save_checkpoint
from training.reading import attribute_reader, binding_loss, noun_sites, reading_loss
from training.scenes import sample_scene
from training.train_transformer import DEFAULT_TEXT
from training.transformer import CaptionToTokens, look_around

DEFAULT_RUN = Path("training/runs/text-encoder")
BATCH = 64


def train(arguments: argparse.Namespace) -> None:
    """Run the training; it is short, so it does not resume."""
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    tokenizer = write_vocabulary(arguments.text)
    model = CaptionToTokens(len(tokenizer.vocab))
    if arguments.start_from is not None:
        model.load_state_dict(load_checkpoint(arguments.start_from / "checkpoint.pt")["average"])
        look_around(model.encoder)
    encoder = model.encoder.train()
    start_reader, reader = (attribute_reader(encoder.shape.width) for _ in range(2))
    sites = noun_sites(tokenizer)
    modules = nn.ModuleList([encoder, start_reader, reader])
    optimiser = torch.optim.AdamW(modules.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    schedule = Schedule(2e-3, 100_000, arguments.minutes, warmup=50)
    captioner, generator = Captioner(tokenizer, dropout=0.0), np.random.default_rng(arguments.seed)
    stop, bar = StopFlag(), tqdm(unit="step", mininterval=5)
    schedule.started = time.monotonic()
    while schedule.progress < 1 and not stop.raised:
        scenes = [sample_scene(generator, held_out=False) for _ in range(BATCH)]
        text, targets = captioner(scenes, generator)
        for group in optimiser.param_groups:
            group["lr"] = schedule.learning_rate
        with torch.autocast("cpu", torch.bfloat16):
            states = encoder(text)
            at_start, at_nouns = start_reader(states[:, 0]), reader(states)
        whole = reading_loss(at_start, targets) * len(HEADS)
        bound = binding_loss(at_nouns, text, sites, targets)
        torch.autograd.backward(whole + bound)
        nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        schedule.step += 1
        bar.update()
        if schedule.step % 100 == 0:
            print(f"step {schedule.step} at nouns {bound:.4f} at <s> {whole:.4f}", flush=True)
    save_checkpoint(arguments.run / "checkpoint.pt", encoder=encoder.state_dict())


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=DEFAULT_RUN, help="folder of the result")
    parser.add_argument("--start-from", type=Path, help="a run of train_transformer to begin with")
    parser.add_argument("--text", type=Path, default=DEFAULT_TEXT, help="where the BPE goes")
    parser.add_argument("--minutes", type=float, default=1, help="wall-clock budget (default 1)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--seed", type=int, default=0)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
