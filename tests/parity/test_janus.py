"""The same numbers as transformers 5.24 at Janus-Pro-1B's width, with four of its layers.

Random weights in transformers' own files. `make parity` prints the figures.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.engine.whole_pictures import draw_whole
from rowcast_server.models.loading import Transformer, load_transformer
from rowcast_server.models.sources import find_in
from rowcast_server.network.facts import Sampling

from tests.support.engine.drawing import text_request
from tests.support.janus import Sizes, write_port
from tests.support.janus_peer import JanusPeer

pytestmark = [pytest.mark.parity, pytest.mark.timeout(900)]

PROMPT = "a red house and a blue boat at night, by the sea"
GUIDANCE = 5.0
WIDE = Sizes(width=2048, ffn_width=5632, layers=4, codes=16_384)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(2)
    return write_port(tmp_path_factory.mktemp("janus"), WIDE)


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[Transformer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROWCAST_CACHE", str(folder / "cache"))
        yield load_transformer(find_in(folder))


def logits(runner: OnnxRunner, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
    """Guided logits of slot 0 after each token, [tokens, codes]."""
    steps = (
        runner.logits(np.array([token]), np.array([position]))[0].copy()
        for position, token in enumerate(tokens)
    )
    return np.stack(list(steps))


def test_logits_and_greedy_tokens(folder: Path, model: Transformer) -> None:
    text = model.text_ids(PROMPT)
    peer = JanusPeer(folder)
    drawn = peer.greedy(text, GUIDANCE)
    expected = peer.guided(text, drawn, GUIDANCE)
    del peer
    fed = np.concatenate([[model.grid.start_token], drawn[:-1]])
    for dtype, allowed in (("float32", 1e-4), ("int8", 0.1), ("int4", 1.0)):
        runner = OnnxRunner(model, 1, threads=2, dtype=dtype)
        runner.open(0, text_request(text, guidance=GUIDANCE))
        difference = np.abs(logits(runner, fed) - expected)
        print(
            f"Janus, {WIDE.layers} layers at {WIDE.width}, {dtype}: guided logits within "
            f"{difference.max() / np.abs(expected).max():.1e} of the largest, on average "
            f"{difference.mean() / expected.std():.1e} of their standard deviation"
        )
        if dtype == "float32":
            assert difference.max() < allowed * np.abs(expected).max()
            sampling = Sampling(top_k=1, guidance=GUIDANCE)
            request = PictureRequest(text, 0, 0, sampling, model.grid.rows)
            assert draw_whole(Engine(runner), request).ravel().tolist() == drawn.tolist()
        else:
            assert difference.mean() < allowed * expected.std()


@pytest.mark.parametrize("dtype", ["float32", "int8", "int4"])
def test_bits_depend_neither_on_company_nor_on_windows(model: Transformer, dtype: str) -> None:
    runner = OnnxRunner(model, 17, threads=2, dtype=dtype)
    tokens = np.random.default_rng(4).integers(0, WIDE.codes, (17, 9))
    texts = [model.text_ids(prompt) for prompt in (PROMPT, "the sea")]
    seen = set()
    for company in (1, 2, 8, 9, 16, 17):
        for slot in range(company):
            runner.open(slot, text_request(texts[slot % 2]))
        for position in range(9):
            after = runner.logits(tokens[:company, position], np.full(company, position))
        seen.add(after[0].tobytes())
    runner.open(0, text_request(texts[0], tokens[0, 1:]))
    runner._ids[0, 0] = tokens[0, 0]
    runner.fill(0, 0, 8)
    seen.add(runner.logits(tokens[0, 8:], np.array([8]))[0].tobytes())
    assert len(seen) == 1
