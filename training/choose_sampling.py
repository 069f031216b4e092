"""Compare sampling defaults on held-out prompts other than those of the evaluation.

python -m training.choose_sampling --temperatures 0.9 1 --guidances 2 3 4 --top-ks 16 64
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import torch
from rowcast_export.vqgan import VQGANDecoder
from safetensors.torch import load_file

from training.evaluate import draw_with_torch, held_out_prompts, score
from training.export_weights import PACKAGE
from training.sampling import SamplingOptions
from training.train_classifier import load_classifier, read_pictures


def main() -> None:
    """Print one line for each combination."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.9, 1.0])
    parser.add_argument("--guidances", type=float, nargs="+", default=[2.0, 3.0, 4.0])
    parser.add_argument("--top-ks", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--prompts", type=int, default=50, help="prompts a combination")
    parser.add_argument("--seed", type=int, default=7, help="not the seed of the evaluation")
    parser.add_argument("--model", type=Path, default=PACKAGE, help="folder of the shipped files")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = json.loads((arguments.model / "model.json").read_text())
    detokenizer = VQGANDecoder.from_state_dict(
        load_file(arguments.model / "detokenizer.safetensors"),
        norm_epsilon=float(settings["group_norm_epsilon"]),
    )
    classifier = load_classifier()
    prompts = held_out_prompts(arguments.prompts, arguments.seed)
    texts = [text for text, _, _ in prompts]
    combinations = itertools.product(arguments.temperatures, arguments.guidances, arguments.top_ks)
    for temperature, guidance, top_k in combinations:
        options = SamplingOptions(temperature, top_k, guidance)
        grids = draw_with_torch(
            arguments.model, texts, options, arguments.seed, settings["start_token"]
        )
        with torch.no_grad():
            parts = grids.unflatten(1, (settings["rows"], settings["cols"])).split(25)
            pixels = torch.cat([detokenizer(part) for part in parts])
        result = score([named for _, named, _ in prompts], read_pictures(classifier, pixels))
        print(
            f"temperature {temperature:g} guidance {guidance:g} top_k {top_k}: "
            f"overall {result['overall']:.3f} worst {result['worst_kind']} {result['worst']:.2f} "
            f"absent {result['unnamed_objects_absent']:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
