"""The same numbers as transformers 5.24: prompt tokens, logits of both streams, greedy tokens."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.engine.whole_pictures import draw_whole
from rowcast_server.families import choosing
from rowcast_server.families.janus import slots as onnx_slots
from rowcast_server.families.janus import step_graph
from rowcast_server.families.janus.reference import JanusReference
from rowcast_server.models.loading import Transformer
from rowcast_server.network.facts import Sampling

from tests.support.engine.drawing import text_request
from tests.support.janus_peer import JanusPeer

PROMPT = "a red house and a blue boat at night, by the sea"
GUIDANCE = 5.0


@pytest.fixture(scope="module")
def peer(folder: Path) -> JanusPeer:
    torch.set_num_threads(1)
    return JanusPeer(folder)


@pytest.fixture(scope="module")
def drawn(peer: JanusPeer, model: Transformer) -> NDArray[np.int64]:
    return peer.greedy(model.text_ids(PROMPT), GUIDANCE)


def relative(ours: Any, theirs: Any) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def test_the_reference_has_the_logits_of_both_streams(
    peer: JanusPeer, model: Transformer, drawn: NDArray[np.int64]
) -> None:
    expected = peer.logits(model.text_ids(PROMPT), drawn)
    ours = reference_logits(model, model.text_ids(PROMPT), drawn)
    assert relative(ours, expected) < 1e-4


def reference_logits(
    model: Transformer, text: tuple[int, ...], drawn: NDArray[np.int64]
) -> NDArray[np.float32]:
    assert model.specials is not None
    weights = {name: torch.tensor(array) for name, array in model.decoder.items()}
    texts = torch.tensor([text, model.specials.without_text(text)])
    codes = torch.from_numpy(drawn)[None].repeat(2, 1)
    with torch.no_grad():
        logits: NDArray[np.float32] = JanusReference(weights).logits(texts, codes).numpy()
    return logits


@pytest.mark.parametrize("guidance", [0.0, 1.0, GUIDANCE])
def test_the_graph_has_the_guided_logits_of_each_step(
    peer: JanusPeer, model: Transformer, drawn: NDArray[np.int64], guidance: float
) -> None:
    expected = peer.guided(model.text_ids(PROMPT), drawn, guidance)
    assert relative(guided(model, drawn, guidance), expected) < 1e-4


def test_greedy_tokens_are_the_same(model: Transformer, drawn: NDArray[np.int64]) -> None:
    sampling = Sampling(top_k=1, guidance=GUIDANCE)
    request = PictureRequest(model.text_ids(PROMPT), 0, 0, sampling, model.grid.rows)
    ours = draw_whole(Engine(OnnxRunner(model, 1, threads=1)), request).ravel()
    assert len(set(drawn.tolist())) > 8  # no picture of one colour
    assert ours.tolist() == drawn.tolist()


MUTATIONS = {
    "guidance before the GELU": (
        step_graph,
        '_guided(graph, graph.op("Gelu", x))',
        'graph.op("Gelu", _guided(graph, x))',
    ),
    "positions off by one": (
        onnx_slots,
        "self.offsets[slot] = length",
        "self.offsets[slot] = length + 1",
    ),
    "aligner not folded": (
        step_graph,
        "table[block] = _gelu(codes[block] @ first.T + first_bias) @ last.T + last_bias",
        "table[block] = 0; table[block, : codes.shape[1]] = codes[block]",
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mistake_is_seen(
    mutation: str,
    peer: JanusPeer,
    model: Transformer,
    drawn: NDArray[np.int64],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, right, wrong = MUTATIONS[mutation]
    source = inspect.getsource(module)
    assert source.count(right) == 1
    changed = ModuleType(module.__name__)
    changed.__dict__.update(__package__=module.__package__)
    exec(compile(source.replace(right, wrong), mutation, "exec"), changed.__dict__)
    for name in ("janus_step_graph", "JanusSlots"):
        if hasattr(changed, name) and getattr(changed, name).__module__ == module.__name__:
            user = onnx_slots if module is step_graph else choosing
            monkeypatch.setattr(user, name, getattr(changed, name))
    ours, expected = guided(model, drawn), peer.guided(model.text_ids(PROMPT), drawn, GUIDANCE)
    assert relative(ours, expected) > 1e-2


def guided(model: Transformer, drawn: NDArray[np.int64], guidance: float = GUIDANCE) -> Any:
    """Guided logits [tokens, codes], fed with what the peer drew."""
    runner = OnnxRunner(model, 1, threads=1)
    runner.open(0, text_request(model.text_ids(PROMPT), guidance=guidance))
    fed = [model.grid.start_token, *drawn[:-1]]
    return np.stack(
        [
            runner.logits(np.array([token]), np.array([position]))[0].copy()
            for position, token in enumerate(fed)
        ]
    )
