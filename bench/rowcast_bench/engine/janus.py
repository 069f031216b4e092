"""`rowcast bench janus`: Janus-Pro's tokens a second beside transformers' own generate loop."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rowcast.cache import default_cache
from rowcast.whole_files import whole_folder
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.engine.whole_pictures import draw_together
from rowcast_server.models.loading import Transformer, load_transformer
from rowcast_server.models.sources import find_in
from rowcast_server.network.facts import Sampling

from ..markdown import table
from .janus_model import Sizes, write_port

PROMPT: Final = "a red house and a blue boat at night"
GUIDANCE: Final = 5.0
TOGETHER: Final = 8
WIDE: Final = {"width": 2048, "ffn_width": 5632, "codes": 16_384}

Draw = Callable[[int], object]  # so many pictures


def run(
    console: Console, layers: int, threads: int, rounds: int, device: str
) -> tuple[dict[str, Any], str]:
    """Both sides in turn, on one machine."""
    folder = default_cache() / f"bench-janus-{layers}"
    if not folder.is_dir():
        console.print(f"writing {folder} …")
        with whole_folder(folder) as unfinished:
            write_port(unfinished, Sizes(**WIDE, layers=layers))
    figures = measure(folder, threads, rounds, device)
    lines = [
        (side, speeds["one"], speeds["together"], round(speeds["one"] / theirs["one"], 1))
        for theirs in [figures["transformers"]]
        for side, speeds in figures.items()
    ]
    head = "", "tokens/s, one picture", f"{TOGETHER} pictures", "one, by theirs"
    report = f"{layers} layers of Janus-Pro-1B's width, {threads} threads, {device}:\n\n"
    return {"layers": layers, "threads": threads, "sides": figures}, report + table(head, lines)


def measure(folder: Path, threads: int, rounds: int, device: str) -> dict[str, dict[str, float]]:
    """Tokens a second of each side, of one picture and of eight: the median of the rounds.

    Prompts are read and pictures drawn to their end in each.
    """
    model = load_transformer(find_in(folder))
    sides = {"transformers": _theirs(folder, model, threads, device)}
    for dtype in ("float32", "int8", "int4") if device == "cpu" else ("bfloat16",):
        sides[f"ours, {dtype}"] = _ours(model, threads, device, dtype)
    found: dict[str, dict[str, list[float]]] = {side: {"one": [], "together": []} for side in sides}
    for draw in sides.values():
        draw(1)  # takes its memory
    for _ in range(rounds):
        for side, draw in sides.items():
            for name, pictures in (("one", 1), ("together", TOGETHER)):
                start = time.perf_counter()
                draw(pictures)
                seconds = time.perf_counter() - start
                found[side][name].append(pictures * model.grid.tokens / seconds)
    return {
        side: {name: round(statistics.median(each), 2) for name, each in speeds.items()}
        for side, speeds in found.items()
    }


def _ours(model: Transformer, threads: int, device: str, dtype: str) -> Draw:
    if device == "cpu":
        engine = Engine(OnnxRunner(model, TOGETHER, threads, dtype))
    else:
        from rowcast_server.engine.devices_torch import device_of
        from rowcast_server.engine.runner_torch import TorchRunner

        engine = Engine(TorchRunner(model, TOGETHER, device_of(device), dtype))
    sampling = Sampling(top_k=0, guidance=GUIDANCE)
    text = model.text_ids(PROMPT)

    def draw(pictures: int) -> object:
        requests = [
            PictureRequest(text, 0, image, sampling, model.grid.rows) for image in range(pictures)
        ]
        return draw_together(engine, requests)

    return draw


def _theirs(folder: Path, model: Transformer, threads: int, device: str) -> Draw:
    """transformers' generate loop, whose cache is static by itself."""
    import torch
    from transformers import JanusForConditionalGeneration

    torch.set_num_threads(threads)
    make: Any = JanusForConditionalGeneration
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    peer = make.from_pretrained(folder, dtype=dtype).to(device)
    peer.eval()
    specials = model.specials
    assert specials is not None
    peer.generation_config.generation_kwargs = {"boi_token_id": specials.begin_of_image}
    text = torch.tensor([model.text_ids(PROMPT)], device=device)

    def draw(pictures: int) -> object:
        ids = text.repeat(pictures, 1)
        return peer.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_mode="image",
            do_sample=True,
            guidance_scale=GUIDANCE,
            bos_token_id=specials.begin_of_text,
            pad_token_id=specials.pad,
            num_return_sequences=1,
            max_length=ids.shape[1] + model.grid.tokens,
        ).cpu()

    return draw
