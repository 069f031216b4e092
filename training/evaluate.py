"""Evaluation of the shipped model on prompts whose combinations no training scene contains.

Draws 300 prompts, looks at the pictures with the classifier, and counts how many of the attributes
that the prompts name are there. Writes training/results.json, the model card and a sheet of
pictures; ends with one line of JSON.

    python -m training.evaluate                            # with the torch reference
    python -m training.evaluate --engine                   # with the server's own engine
    python -m training.evaluate --try-out --prompts 50 --seed 7 --temperature 0.9 --top-k 64 \\
        --sheet training/runs/sheet.png                    # other defaults, on other prompts
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from rowcast_export.vqgan import VQGANDecoder
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.engine.whole_pictures import draw_together
from rowcast_server.models.loading import load
from rowcast_server.models.text import TextTokenizer
from rowcast_server.network.dalle_bart import DalleBartDecoder, DalleBartEncoder
from rowcast_server.network.facts import Sampling
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from training.attributes import ABSENT, OBJECTS, attributes
from training.captions import caption
from training.export_weights import PACKAGE
from training.loop import load_checkpoint
from training.model_card import card
from training.painter import Pixels
from training.rendering import as_pixels, render
from training.sampling import SamplingOptions, sample_prompts
from training.scenes import Scene, held_out_pairs, sample_scene
from training.train_classifier import accuracy_on_renders, load_classifier, read_pictures
from training.train_vqgan import DEFAULT_RUN as VQGAN_RUN
from training.train_vqgan import load_autoencoder, psnr

RESULTS = Path("training/results.json")
CARD = Path("training/MODEL_CARD.md")
SHEET = Path("docs/postcard-sheet.png")
TOKENIZER_RUNS = ("vqgan*/checkpoint.pt", "detokenizer*/checkpoint.pt")
TRANSFORMER_RUNS = "transformer*/checkpoint.pt"
BARS = {"overall": 0.90, "worst kind": 0.75, "classifier": 0.98, "psnr": 27.0}


def held_out_prompts(count: int, seed: int) -> list[tuple[str, dict[str, str], Scene]]:
    """Prompts with what they name, each with at least one combination unknown to training."""
    generator = np.random.default_rng(seed)
    scenes = [sample_scene(generator, held_out=True) for _ in range(count)]
    return [(*caption(scene, generator), scene) for scene in scenes]


def draw_with_torch(
    folder: Path, prompts: list[str], options: SamplingOptions, seed: int, start_token: int
) -> Tensor:
    """Grids int64 [prompts, 256] from the shipped files, by the plain reference."""
    encoder = DalleBartEncoder.from_state_dict(load_file(folder / "encoder.safetensors"))
    decoder = DalleBartDecoder.from_state_dict(load_file(folder / "decoder.safetensors"))
    tokenizer = TextTokenizer.from_files(folder / "vocab.json", folder / "merges.txt")
    with tqdm(total=len(prompts), desc="drawing", mininterval=5) as bar:
        return sample_prompts(
            encoder, decoder, tokenizer, prompts, start_token, options, seed, on_progress=bar.update
        )


def draw_with_engine(prompts: list[str], options: SamplingOptions, seed: int) -> Tensor:
    """Grids int64 [prompts, 256] by the server's engine and ONNX Runtime, 16 pictures at once."""
    model = load("postcard")
    runner = OnnxRunner(model, slots=16, threads=2)
    sampling = Sampling(options.temperature, options.top_k, 1.0, options.guidance)
    requests = [
        PictureRequest(model.text_ids(prompt), seed + picture, 0, sampling, model.grid.rows)
        for picture, prompt in enumerate(prompts)
    ]
    with tqdm(total=len(prompts) * model.grid.rows, desc="rows", mininterval=5) as bar:
        grids = draw_together(Engine(runner, len(prompts)), requests, bar.update)
    return torch.from_numpy(np.stack(grids)).flatten(1)


def score(named: list[dict[str, str]], found: list[dict[str, str]]) -> dict[str, Any]:
    """Shares of named attributes that are in the pictures, and of unnamed objects that are not."""
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for wanted, seen in zip(named, found, strict=True):
        for kind, value in wanted.items():
            total[kind] += 1
            right[kind] += seen[kind] == value
        for kind in OBJECTS:
            if kind not in wanted:
                total["unnamed objects absent"] += 1
                right["unnamed objects absent"] += seen[kind] == ABSENT
    kinds = {kind: right[kind] / total[kind] for kind in total if kind in found[0]}
    count = sum(total[kind] for kind in kinds)
    return {
        "overall": sum(right[kind] for kind in kinds) / count,
        "named_attributes": count,
        "kinds": {kind: {"accuracy": kinds[kind], "count": total[kind]} for kind in sorted(kinds)},
        "worst_kind": min(kinds, key=lambda kind: kinds[kind]),
        "worst": min(kinds.values()),
        "unnamed_objects_absent": right["unnamed objects absent"]
        / max(1, total["unnamed objects absent"]),
    }


def captioned_sheet(pictures: list[Image.Image], captions: list[str], columns: int) -> Image.Image:
    """Pictures with their prompts beneath."""
    gap, side, text_height = 12, 128, 40
    rows = -(-len(pictures) // columns)
    size = columns * (side + gap) + gap, rows * (side + text_height + gap) + gap
    page = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=9)
    for index, (picture, text) in enumerate(zip(pictures, captions, strict=True)):
        x = gap + index % columns * (side + gap)
        y = gap + index // columns * (side + text_height + gap)
        page.paste(picture, (x, y))
        lines, line = [], ""
        for word in text.split():
            longer = f"{line} {word}".strip()
            if draw.textlength(longer, font=font) > side:
                lines.append(line)
                longer = word
            line = longer
        draw.text((x, y + side + 3), "\n".join([*lines, line][:4]), "#333333", font, spacing=0)
    return page


def training_facts(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The sizes and the training runs' figures that the model card tells."""

    def parameters(*names: str) -> int:
        states = [load_file(folder / f"{name}.safetensors") for name in names]
        return sum(value.numel() for state in states for value in state.values())

    # Runs that the last one began with count too: training/runs/vqgan, vqgan_groupnorm and so on.
    tokenizer_runs = [
        load_checkpoint(path)
        for pattern in TOKENIZER_RUNS
        for path in VQGAN_RUN.parent.glob(pattern)
    ]
    transformer_runs = [load_checkpoint(path) for path in VQGAN_RUN.parent.glob(TRANSFORMER_RUNS)]
    return {
        **settings,
        "transformer_parameters": parameters("encoder", "decoder"),
        "detokenizer_parameters": parameters("detokenizer"),
        "vqgan_minutes": sum(run.get("seconds", 0) for run in tokenizer_runs) / 60,
        "transformer_minutes": sum(run["seconds"] for run in transformer_runs) / 60,
        "pictures": sum(run["pictures"] for run in transformer_runs),
    }


def main() -> None:
    """Evaluate and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=300, help="held-out prompts (default 300)")
    parser.add_argument("--seed", type=int, default=2026, help="of prompts and pictures")
    parser.add_argument("--model", type=Path, default=PACKAGE, help="folder of the shipped files")
    parser.add_argument("--engine", action="store_true", help="draw with the server's engine")
    parser.add_argument("--temperature", type=float, help="default: what model.json says")
    parser.add_argument("--top-k", type=int, help="default: what model.json says")
    parser.add_argument("--guidance", type=float, help="default: what model.json says")
    parser.add_argument("--sheet", type=Path, default=SHEET, help="where the pictures go")
    parser.add_argument(
        "--try-out", action="store_true", help="only draw and score; write nothing but the sheet"
    )
    parser.add_argument(
        "--card-only", action="store_true", help="rewrite the card, measure nothing"
    )
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = json.loads((arguments.model / "model.json").read_text())
    if arguments.card_only:
        results = json.loads(RESULTS.read_text())
        CARD.write_text(card(results, training_facts(arguments.model, settings)), encoding="utf-8")
        return
    defaults = settings["sampling"]
    options = SamplingOptions(
        arguments.temperature or defaults["temperature"],
        arguments.top_k or defaults["top_k"],
        defaults["guidance"] if arguments.guidance is None else arguments.guidance,
    )
    prompts = held_out_prompts(arguments.prompts, arguments.seed)
    texts = [text for text, _, _ in prompts]
    started = time.monotonic()
    if arguments.engine:
        grids = draw_with_engine(texts, options, arguments.seed)
    else:
        grids = draw_with_torch(
            arguments.model, texts, options, arguments.seed, settings["start_token"]
        )
    seconds = time.monotonic() - started
    detokenizer = VQGANDecoder.from_state_dict(
        load_file(arguments.model / "detokenizer.safetensors"),
        norm_epsilon=float(settings["group_norm_epsilon"]),
    )
    with torch.no_grad():
        ids = torch.unflatten(grids, 1, (settings["rows"], settings["cols"]))
        pixels = torch.cat([detokenizer(part) for part in torch.split(ids, 25)])
    classifier = load_classifier()
    found = read_pictures(classifier, pixels)
    results = {
        "sampler": "engine" if arguments.engine else "torch reference",
        "sampling": vars(options),
        "prompts": len(prompts),
        "seed": arguments.seed,
        "seconds_to_draw": round(seconds, 1),
        **score([named for _, named, _ in prompts], found),
    }
    images = (pixels.permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)
    pictures = [Image.fromarray(image) for image in images[:36]]
    arguments.sheet.parent.mkdir(parents=True, exist_ok=True)
    captioned_sheet(pictures, texts[:36], columns=6).save(arguments.sheet, optimize=True)
    if arguments.try_out:
        print(json.dumps(results))
        return
    renders = np.stack([render(scene) for _, _, scene in prompts])
    autoencoder = load_autoencoder()
    autoencoder.detokenizer.load_state_dict(detokenizer.state_dict())
    with torch.no_grad():
        tokens = torch.cat([autoencoder.tokens(as_pixels(part)) for part in _split(renders)])
        rebuilt = torch.cat([detokenizer(part) for part in torch.split(tokens, 25)])
    judged = accuracy_on_renders(classifier, 1000, seed=arguments.seed + 1)
    truth = [attributes(scene) for _, _, scene in prompts]
    results["classifier"] = {
        "mean": float(np.mean(list(judged.values()))),
        "renders": 1000,
        "kinds": judged,
        "on_reconstructions": score(truth, read_pictures(classifier, rebuilt))["overall"],
    }
    results["vqgan_psnr"] = psnr(autoencoder, renders)
    results["bars"] = BARS
    results["held_out_pairs_asked"] = dict(
        Counter(" + ".join(pair) for _, _, scene in prompts for pair in held_out_pairs(scene))
    )
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    CARD.write_text(card(results, training_facts(arguments.model, settings)), encoding="utf-8")
    line = {key: results[key] for key in ("overall", "worst_kind", "worst", "vqgan_psnr")}
    print(json.dumps({**line, "classifier": results["classifier"]["mean"]}))


def _split(images: Pixels, size: int = 25) -> list[Pixels]:
    return [images[start : start + size] for start in range(0, len(images), size)]


if __name__ == "__main__":
    main()
