"""The two sides of `rowcast bench engine`: min-dalle's own modules and our engine, on one model.

Each draws tokens as it does when it serves: min-dalle through `sample_tokens`, we through `Engine`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from rowcast_server.config import ServerConfig
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest, RowDrawn
from rowcast_server.engine.whole_pictures import draw_whole
from rowcast_server.memory import slot_bytes
from rowcast_server.models.loading import load_transformer
from rowcast_server.models.sources import find_in
from rowcast_server.network.facts import DEFAULT_CACHE, UNCONDITIONAL, CacheKind, Sampling
from rowcast_server.placement import Placement
from rowcast_server.runners import make_runner

from .memory import peak_bytes
from .random_model import IMAGE_TOKENS, SIZES, build
from .roofline import Work, work_of

if TYPE_CHECKING:
    import torch

START_TOKEN: Final = 16_383  # what min-dalle feeds first
GUIDANCE: Final = 16.0
PROMPT: Final = "a red house by the sea at night, and two boats"
WARM_UP: Final = 3


class MinDalle:
    """min-dalle 0.4.11 from PyPI, in other dtypes than float32 under autocast, as it does."""

    def __init__(
        self,
        folder: Path,
        size: str,
        threads: int,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> None:
        import torch

        torch.set_num_threads(threads)
        self._device, self._dtype = device, getattr(torch, dtype)
        torch.set_grad_enabled(False)
        self._sizes = SIZES[size]
        encoder, decoder = build(self._sizes)
        for module, file in ((encoder, "encoder.pt"), (decoder, "decoder.pt")):
            module.load_state_dict(torch.load(folder / file, weights_only=True), strict=False)
            module.to(device=device, dtype=self._dtype)
            for part in module.modules():  # its tables of positions are no buffers
                for name, value in [*vars(part).items()]:
                    if isinstance(value, torch.Tensor):
                        setattr(part, name, value.to(device))
        self._encoder, self._decoder = encoder, decoder
        self._text = load_transformer(find_in(folder), START_TOKEN).tokenizer.encode(PROMPT).ids

    def seconds_per_step(self, images: int, steps: int) -> float:
        """Seconds of a step that draws ``images`` pictures together, from the first position."""
        run = self._run(images, top_k=256)
        for _ in range(WARM_UP):
            next(run)
        begun = time.perf_counter()
        for _ in range(steps):
            next(run)
        return (time.perf_counter() - begun) / steps

    def seconds_per_picture(self, images: int) -> float:
        """Seconds of ``images`` whole pictures together, until the last token is on the host."""
        begun = time.perf_counter()
        for _ in self._run(images, top_k=256):
            pass
        return time.perf_counter() - begun

    def greedy(self, count: int) -> list[int]:
        """The first ``count`` tokens of a picture, each the most likely one."""
        run = self._run(1, top_k=1)
        return [next(run) for _ in range(count)]

    def _run(self, images: int, top_k: int) -> Iterator[int]:
        import torch

        device = self._device
        text = torch.from_numpy(np.stack([UNCONDITIONAL, self._text])).to(device)
        pair = [0] * images + [1] * images
        places = torch.arange(IMAGE_TOKENS, device=device)
        cache = self._cache(images)
        settings = torch.tensor([1.0, float(top_k), GUIDANCE], device=device)
        tokens = torch.full((images, 1), START_TOKEN, device=device)
        kind, exact = device.partition(":")[0], self._dtype == torch.float32
        in_dtype = torch.autocast(kind, torch.bfloat16 if exact else self._dtype, enabled=not exact)
        with in_dtype:
            state = self._encoder.forward(text)[pair]
        mask = text[pair].not_equal(1)[:, None, None, :]
        for position in range(IMAGE_TOKENS):
            torch.cuda.empty_cache()  # as it does; nothing where there is no CUDA
            with in_dtype:
                drawn, cache = self._decoder.sample_tokens(
                    settings,
                    attention_mask=mask,
                    encoder_state=state,
                    attention_state=cache,
                    prev_tokens=tokens,
                    token_index=places[[position]],
                )
            tokens = drawn[:, None]
            yield int(drawn[0]) if device == "cpu" or position + 1 == IMAGE_TOKENS else 0

    def _cache(self, images: int) -> torch.Tensor:
        import torch

        size = (self._sizes.layers, 4 * images, IMAGE_TOKENS, self._sizes.width)
        return torch.zeros(size, device=self._device)  # float32, whatever the dtype

    def memory(self) -> dict[str, int]:
        """Bytes: the most that this process took, and the caches of a picture."""
        return {"peak": peak_bytes(), "cache": self._cache(images=1).nbytes}


class Ours:
    """Our engine, with the runner that a server on this device would have."""

    def __init__(
        self,
        folder: Path,
        threads: int,
        slots: int,
        device: str = "cpu",
        dtype: str = "float32",
        cache: CacheKind = DEFAULT_CACHE,
    ) -> None:
        self._model = load_transformer(find_in(folder), START_TOKEN)
        placement = Placement(device, dtype, cache)
        config = ServerConfig(placements=(placement,), threads=threads, slots=slots)
        self._runner = make_runner(self._model, config, placement)
        self._slot = slot_bytes(self._model.decoder, placement)
        self._text = self._model.text_ids(PROMPT)

    def _request(self, seed: int, stop_row: int, sampling: Sampling) -> PictureRequest:
        return PictureRequest(self._text, seed, 0, sampling, stop_row)

    def seconds_per_step(self, images: int, steps: int) -> float:
        """Seconds of a step that draws ``images`` pictures together, from the first position."""
        engine = Engine(self._runner)
        for seed in range(images):
            engine.submit(seed, self._request(seed, self._model.grid.rows, Sampling()))
        for _ in range(WARM_UP):
            engine.step()
        begun = time.perf_counter()
        for _ in range(steps):
            engine.step()
        seconds = (time.perf_counter() - begun) / steps
        engine.fail_all("measured")
        return seconds

    def seconds_per_picture(self, images: int) -> tuple[float, float]:
        """Seconds until the first row, and until all of ``images`` whole pictures are here."""
        engine = Engine(self._runner)
        begun, first = time.perf_counter(), 0.0
        for seed in range(images):
            engine.submit(seed, self._request(seed, self._model.grid.rows, Sampling()))
        while not engine.idle:
            rows = [event for event in engine.step() if isinstance(event, RowDrawn)]
            if rows and not first:
                first = time.perf_counter() - begun
        return first, time.perf_counter() - begun

    def tokens_per_second(self, jobs: int, rows: int, seed: int) -> float:
        """Rate of single-picture jobs that arrive at random in the time of one row.

        Each has ``rows`` rows. All their tokens over all the time, encoding of the texts included.
        """
        engine = Engine(self._runner)
        random = np.random.default_rng(seed)
        arrivals = np.sort(random.integers(0, self._model.grid.cols, jobs))
        arrivals[0] = 0
        submitted = step = 0
        begun = time.perf_counter()
        while submitted < jobs or not engine.idle:
            while submitted < jobs and arrivals[submitted] <= step:
                request = self._request(seed + submitted, rows, Sampling())
                engine.submit(submitted, request, client=submitted)
                submitted += 1
            engine.step()
            step += 1
        return jobs * rows * self._model.grid.cols / (time.perf_counter() - begun)

    def greedy(self, count: int) -> list[int]:
        """The first ``count`` tokens of a picture, each the most likely one."""
        rows = -(-count // self._model.grid.cols)
        request = self._request(0, rows, Sampling(top_k=1, guidance=GUIDANCE))
        ids: list[int] = draw_whole(Engine(self._runner), request).ravel().tolist()
        return ids[:count]

    def work(self) -> Work:
        """What a step in float32 must do."""
        return work_of(self._model, self._slot.tokens)

    def memory(self) -> dict[str, int]:
        """Bytes: the most that this process took, and the caches of a picture."""
        return {"peak": peak_bytes(), "cache": self._slot.tokens, "text": self._slot.text}
