"""How far our encoder, logits and greedy tokens are from min-dalle's, on the same files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.engine.whole_pictures import draw_whole
from rowcast_server.models.loading import Transformer, load_transformer
from rowcast_server.models.sources import find_in
from rowcast_server.network.dalle_bart import DalleBartEncoder
from rowcast_server.network.facts import PAD, UNCONDITIONAL, Sampling

from tests.support.engine.drawing import text_request
from tests.support.engine.peer import START_TOKEN, Peer, Sizes

GUIDANCE = 16.0
PROMPT = "a red house by the sea at night, and two boats"


@dataclass(frozen=True)
class Agreement:
    """Encoder: largest difference over largest value, of the states (the torch reference) and of
    the first layer's cross-attention keys (the graph). Logits: the largest difference of guided
    logits over their standard deviation, fed with the peer's tokens."""

    encoder: float
    cross_keys: float
    logits: float
    tokens: int  # drawn greedily until one differs
    asked: int

    def __str__(self) -> str:
        return (
            f"encoder states within {self.encoder:.1e} (graph {self.cross_keys:.1e}), guided "
            f"logits within {self.logits:.1e} of their standard deviation, {self.tokens} of "
            f"{self.asked} greedy tokens the same"
        )

    def check(self) -> None:
        assert self.encoder <= 1e-4
        assert self.cross_keys <= 1e-4
        assert self.logits <= 1e-3
        assert self.tokens == self.asked


def measure(folder: Path, sizes: Sizes, tokens: int = 64, threads: int = 1) -> Agreement:
    """Both draw from the files of ``folder``, ours with min-dalle's start token."""
    ours = load_transformer(find_in(folder), start_token=START_TOKEN)
    text = ours.text_ids(PROMPT)
    peer = Peer(sizes, folder)
    assert (peer.text_tokens(PROMPT) == [UNCONDITIONAL, text]).all()
    states, _ = peer.encode(PROMPT)
    keys = peer.decoder.layers[0].encoder_attn.k_proj(states).detach()
    drawn = list(peer.greedy(PROMPT, GUIDANCE, tokens))
    del peer

    reference = DalleBartEncoder.from_state_dict(
        {name: torch.from_numpy(array) for name, array in ours.encoder.items()}
    )
    with torch.no_grad():
        encoder = _relative(reference(torch.tensor([UNCONDITIONAL, text])), states)
    del reference
    runner = OnnxRunner(ours, slots=1, threads=threads)
    runner.open(0, text_request(text, guidance=GUIDANCE))
    cross_keys = max(
        _cross_keys(mine, theirs, ids)
        for mine, theirs, ids in (
            (runner.held.shared["no_text_keys_0"], keys[0], UNCONDITIONAL),
            (runner.held.texts["cross_keys_0"], keys[1], text),
        )
    )
    worst = 0.0
    before = START_TOKEN
    for position, (logits, token) in enumerate(drawn):
        ours_now = runner.logits(np.array([before]), np.array([position]))
        expected = logits[0] + GUIDANCE * (logits[1] - logits[0])
        difference = np.abs(ours_now[0] - expected).max() / expected.std()
        worst, before = max(worst, float(difference)), token
    greedy = _greedy(runner, ours, text, tokens)
    same = np.equal(greedy, [token for _, token in drawn])
    return Agreement(
        encoder=encoder,
        cross_keys=cross_keys,
        logits=worst,
        tokens=int(np.argmin([*same, False])),
        asked=tokens,
    )


def _greedy(
    runner: OnnxRunner, ours: Transformer, text: tuple[int, ...], tokens: int
) -> NDArray[np.int64]:
    """Whole rows through the engine, as any picture; top_k 1 leaves nothing to chance."""
    sampling = replace(Sampling(), top_k=1, guidance=GUIDANCE)
    request = PictureRequest(text, 0, 0, sampling, stop_row=-(-tokens // ours.grid.cols))
    return draw_whole(Engine(runner), request).ravel()[:tokens]


def _cross_keys(ours: NDArray[np.float32], theirs: torch.Tensor, text: tuple[int, ...]) -> float:
    """Ours [1, 1, 1, heads, 64, text] against [text, width]; padding is not computed."""
    length = sum(token != PAD for token in text)
    mine = torch.from_numpy(ours[0, 0, 0]).flatten(0, 1).T  # [text, width]
    return _relative(mine[:length], theirs[:length])


def _relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())
