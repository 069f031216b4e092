"""Pictures drawn through an engine, and the slow reference: what all runners are held to."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest, RowDrawn
from rowcast_server.engine.runner import Runner
from rowcast_server.engine.whole_pictures import draw_whole
from rowcast_server.models.loading import LoadedModel
from rowcast_server.network.dalle_bart import DalleBartDecoder, DalleBartEncoder, text_mask
from rowcast_server.network.facts import UNCONDITIONAL, Sampling

JOBS = 8


def reference_logits(
    model: LoadedModel, text: tuple[int, ...], tokens: NDArray[np.int64], guidance: float
) -> NDArray[np.float32]:
    """Teacher-forced guided logits [positions, codes] from the slow reference, which guides the
    logits of both streams."""
    encoder = DalleBartEncoder.from_state_dict(
        {name: torch.from_numpy(array) for name, array in model.encoder.items()}
    )
    decoder = DalleBartDecoder.from_state_dict(
        {name: torch.from_numpy(array) for name, array in model.decoder.items()}
    )
    ids = torch.tensor([text, UNCONDITIONAL])
    with torch.no_grad():
        state = encoder(ids)
        previous = torch.from_numpy(tokens)[None].repeat(2, 1)
        conditional, unconditional = decoder(previous, state, text_mask(ids))
    guided = unconditional + guidance * (conditional - unconditional)
    codes: NDArray[np.float32] = guided[..., : model.grid.codebook_size].numpy()
    return codes


def ids_alone(runner: Runner, request: PictureRequest) -> NDArray[np.int64]:
    return draw_whole(Engine(runner), request)


def draw_all(
    engine: Engine, starts: dict[int, tuple[int, PictureRequest]]
) -> dict[int, NDArray[np.int64]]:
    """Pictures by number, each submitted at its step."""
    rows: dict[int, list[NDArray[np.int64]]] = {number: [] for number in starts}
    step = 0
    while not engine.idle or step <= max(start for start, _ in starts.values()):
        for number, (start, request) in starts.items():
            if start == step:
                engine.submit(number, request, client=number)
        for event in engine.step():
            if isinstance(event, RowDrawn):
                rows[event.picture].append(event.ids)
        step += 1
    return {number: np.stack(drawn) for number, drawn in rows.items()}


def requests(model: LoadedModel) -> list[PictureRequest]:
    """Jobs that differ in text, seed, image and sampling."""
    prompts = ["a red house", "a blue boat at night", "the sun", "moon over the sea"]
    return [
        PictureRequest(
            model.text_ids(prompts[number % 4]),
            seed=number * 1_000_003,
            image=number % 3,
            sampling=Sampling(
                temperature=0.5 + 0.25 * number,
                top_k=(0, 16, 64)[number % 3],
                top_p=(1.0, 0.9)[number % 2],
                guidance=float(number),
            ),
            stop_row=model.grid.rows,
        )
        for number in range(JOBS)
    ]


def text_request(
    text_ids: tuple[int, ...], given: ArrayLike | None = None, guidance: float = 16.0
) -> PictureRequest:
    """A picture where only its text matters; ``given`` ids count as one row, however many."""
    prefix = None if given is None else np.asarray(given, np.int64)[None]
    return PictureRequest(text_ids, 0, 0, Sampling(guidance=guidance), 1, prefix)
