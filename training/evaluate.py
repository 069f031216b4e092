"""Evaluation of the shipped model on prompts whose combinations no training scene contains.

Draws 300 prompts, looks at the pictures with the classifier, and counts how many of the attributes
that the prompts name are there. Writes training/results.json, the model card and a sheet of
pictures; ends with one line of JSON.

    python -m training.evaluate
    python -m training.evaluate --try-out --prompts 50 --seed 7 --temperature 0.9 --top-k 64 \\
        --sheet training/runs/sheet.png                    # other defaults, on other prompts
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rowcast_export.vqgan import VQGANDecoder
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.engine.whole_pictures import draw_together
from rowcast_server.models.loading import LoadedModel, load
from rowcast_server.network.facts import Sampling
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from training.attributes import ABSENT, OBJECTS, attributes
from training.captions import caption
from training.command_line import parse
from training.export_weights import PACKAGE
from training.loop import CHECKPOINT, load_checkpoint
from training.model_card import card
from training.rendering import as_pixels, render, sheet
from training.scenes import Scene, held_out_pairs, sample_scene
from training.train_classifier import accuracy_on_renders, load_classifier, read_pictures
from training.train_vqgan import DEFAULT_RUN as VQGAN_RUN
from training.train_vqgan import load_autoencoder, psnr

RESULTS = Path("training/results.json")
CARD = Path("training/MODEL_CARD.md")
SHEET = Path("docs/postcard-sheet.png")
OPTIONS = {
    "prompts": (300, "held-out prompts"),
    "seed": (2026, "of prompts and pictures"),
    "model": (PACKAGE, "folder of the shipped files"),
    "temperature": (float, "default: what model.json says"),
    "top-k": (int, "default: what model.json says"),
    "guidance": (float, "default: what model.json says"),
    "sheet": (SHEET, "where the pictures go"),
    "try-out": (False, "only draw and score; write nothing but the sheet"),
    "card-only": (False, "rewrite the card, measure nothing"),
    "threads": (2, "threads of torch"),
}
BARS = {"overall": 0.90, "worst kind": 0.75, "classifier": 0.98, "psnr": 27.0}


def held_out_prompts(count: int, seed: int) -> list[tuple[str, dict[str, str], Scene]]:
    """Prompts with what they name, each with at least one combination unknown to training."""
    generator = np.random.default_rng(seed)
    scenes = [sample_scene(generator, held_out=True) for _ in range(count)]
    return [(*caption(scene, generator), scene) for scene in scenes]


def draw(model: LoadedModel, prompts: list[str], sampling: Sampling, seed: int) -> Tensor:
    """Grids int64 [prompts, rows, cols] by the server's engine, 16 pictures at once."""
    runner = OnnxRunner(model, slots=16, threads=2)
    requests = [
        PictureRequest(model.text_ids(prompt), seed + picture, 0, sampling, model.grid.rows)
        for picture, prompt in enumerate(prompts)
    ]
    with tqdm(total=len(prompts) * model.grid.rows, desc="rows", mininterval=5) as bar:
        grids = draw_together(Engine(runner), requests, bar.update)
    return torch.from_numpy(np.stack(grids))


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


def training_facts(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The sizes and the training runs' figures that the model card tells."""

    def parameters(*names: str) -> int:
        states = [load_file(folder / f"{name}.safetensors") for name in names]
        return sum(value.numel() for state in states for value in state.values())

    # Runs that the last one began with count too: training/runs/vqgan, vqgan_groupnorm and so on.
    def runs(name: str) -> list[dict[str, Any]]:
        paths = VQGAN_RUN.parent.glob(f"{name}*/{CHECKPOINT}")
        return [load_checkpoint(path) for path in paths]

    tokenizer_runs, transformer_runs = runs("vqgan") + runs("detokenizer"), runs("transformer")
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
    arguments = parse(__doc__, OPTIONS)
    torch.set_num_threads(arguments.threads)
    settings = json.loads((arguments.model / "model.json").read_text())
    if arguments.card_only:
        results = json.loads(RESULTS.read_text())
        CARD.write_text(card(results, training_facts(arguments.model, settings)), encoding="utf-8")
        return
    defaults = settings["sampling"]
    sampling = {
        name: defaults[name] if (given := getattr(arguments, name)) is None else given
        for name in ("temperature", "top_k", "guidance")
    }
    prompts = held_out_prompts(arguments.prompts, arguments.seed)
    texts = [text for text, _, _ in prompts]
    started = time.monotonic()
    grids = draw(load(str(arguments.model)), texts, Sampling(**sampling), arguments.seed)
    seconds = time.monotonic() - started
    detokenizer = VQGANDecoder.from_state_dict(
        load_file(arguments.model / "detokenizer.safetensors"),
        norm_epsilon=float(settings["group_norm_epsilon"]),
    )
    with torch.no_grad():
        pixels = torch.cat([detokenizer(part) for part in torch.split(grids, 25)])
    classifier = load_classifier()
    found = read_pictures(classifier, pixels)
    results = {
        "sampler": "engine",
        "sampling": sampling,
        "prompts": len(prompts),
        "seed": arguments.seed,
        "seconds_to_draw": round(seconds, 1),
        **score([named for _, named, _ in prompts], found),
    }
    images = (pixels.permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)
    arguments.sheet.parent.mkdir(parents=True, exist_ok=True)
    sheet(list(images[:36]), 6, texts[:36]).save(arguments.sheet, optimize=True)
    if arguments.try_out:
        print(json.dumps(results))
        return
    renders = np.stack([render(scene) for _, _, scene in prompts])
    autoencoder = load_autoencoder()
    autoencoder.detokenizer.load_state_dict(detokenizer.state_dict())
    with torch.no_grad():
        parts = torch.split(as_pixels(renders), 25)
        rebuilt = torch.cat([detokenizer(autoencoder.tokens(part)) for part in parts])
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


if __name__ == "__main__":
    main()
