"""postcard's pictures while they form: who paints them, and how near they are to the final one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rowcast_server
from numpy.typing import NDArray
from rowcast.events import Event, PictureDone, PictureRepainted
from rowcast.pixels.detokenizer import Detokenizer
from rowcast_server.server import RowcastServer

from tests.support.client.shells import SHELLS
from tests.support.servers import running_server

pytestmark = pytest.mark.timeout(120)

POSTCARD = Path(rowcast_server.__file__).parent / "models/postcard"
PROMPTS = (
    "night over the sea, a boat with a red sail",
    "a white house in the snow",
    "a yellow balloon over the sea at sunset",
)
SEED = 3


@pytest.fixture(scope="module")
def full() -> Detokenizer:
    return Detokenizer(POSTCARD / "detokenizer.onnx")


@pytest.fixture(scope="module")
def server() -> Iterator[RowcastServer]:
    with running_server("postcard", slots=3) as running:
        yield running


@pytest.fixture(scope="module")
def without_preview(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RowcastServer]:
    """postcard as it would be without a small decoder."""
    folder = tmp_path_factory.mktemp("model") / "postcard"
    shutil.copytree(POSTCARD, folder, ignore=shutil.ignore_patterns("preview*"))
    with running_server(str(folder), slots=2) as running:
        yield running


@pytest.fixture(scope="module")
def grids(server: RowcastServer) -> list[NDArray[np.uint32]]:
    """A picture of each prompt, [rows, cols]."""
    with SHELLS["sync"](server.ws_url, decode=False) as client:
        return [client.pictures(prompt, seed=SEED)[0].picture.grid for prompt in PROMPTS]


def decibels(pixels: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    error = np.square(pixels.astype(float) - reference).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-6)))


def pixels(event: Event) -> NDArray[np.uint8]:
    assert event.image is not None
    return np.asarray(event.image)


# How near it is


def test_the_guess_below_makes_the_rows_held_nearer_to_the_final_picture(
    full: Detokenizer, grids: list[NDArray[np.uint32]]
) -> None:
    side, gains = full.pixels_per_token, []
    for grid in grids:
        rows = len(grid)
        final = full.decode(grid[None])[0]
        assert np.array_equal(full.paint(grid, rows), final)
        for held in range(1, rows, 2):
            shown = full.paint(grid[:held], rows)
            filled = np.concatenate([grid[:held], *[grid[held - 1 : held]] * min(6, rows - held)])
            cropped = full.decode(filled[None])[0, : held * side]
            assert np.array_equal(shown[: held * side], cropped)
            without = full.decode(grid[None, :held])[0]
            seen = final[: held * side]
            gains.append(decibels(cropped, seen) - decibels(without, seen))
    assert np.median(gains) > 3
    assert np.mean(np.array(gains) > 0) > 0.9


def test_the_preview_is_shown_as_it_was_taught(grids: list[NDArray[np.uint32]]) -> None:
    preview = Detokenizer(POSTCARD / "preview.fp16.onnx")
    for held in (1, 5, 15):
        shown = preview.paint(grids[0][:held], len(grids[0]))
        assert np.array_equal(
            shown[: held * preview.pixels_per_token], preview.decode(grids[0][None, :held])[0]
        )


# Who paints it


@pytest.mark.parametrize("shell", SHELLS)
def test_without_a_preview_the_full_decoder_paints_what_forms(
    shell: str, full: Detokenizer, without_preview: RowcastServer
) -> None:
    """The first visit fetches; at the second all is there."""
    for visit in range(2):
        seen: list[str | None] = []
        with SHELLS[shell](without_preview.ws_url) as client:
            for event in client.generate(PROMPTS[0], 2, seed=SEED):
                if event.tier not in seen:
                    seen.append(event.tier)
                if isinstance(event, PictureDone):
                    last = full.decode(event.picture.grid[None])[0]
                    assert np.array_equal(pixels(event), last)
                elif isinstance(event, PictureRepainted) and event.tier == "full":
                    assert is_painted_so_far(event, full)
            assert client.tiers == ("palette uint8", "full fp32 on cpu")
        assert not visit or seen == [None, "palette", "full"]


def is_painted_so_far(event: Event, full: Detokenizer) -> bool:
    """True if the image is that of as many rows as were held, or a few less: more came since."""
    picture, side = event.picture, full.pixels_per_token
    rows = picture.recipe.rows
    return any(
        np.array_equal(
            pixels(event)[: held * side], full.paint(picture.ids[:held], rows)[: held * side]
        )
        for held in range(picture.rows_held, 0, -1)
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_where_there_is_a_preview_it_paints_what_forms(shell: str, server: RowcastServer) -> None:
    for visit in range(2):
        seen: list[str | None] = []
        with SHELLS[shell](server.ws_url) as client:
            for event in client.generate(PROMPTS[0], 2, seed=SEED):
                if event.tier not in seen:
                    seen.append(event.tier)
            kinds = [tier.split()[0] for tier in client.tiers]
        assert not visit or (kinds, seen) == (
            ["palette", "preview", "full"],
            [None, "palette", "preview", "full"],
        )
