"""A grid of 24x24 behind real sockets: clients draw it as they draw any, and go on after a stop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rowcast
from rowcast.events import RowsArrived
from rowcast_server.server import RowcastServer

from tests.support.client.openai_calls import pixels_in, sdk
from tests.support.janus import Sizes, write_deepseek
from tests.support.servers import running_server

PROMPT = "a red house by the sea"
SIDE = 24
MOST_BYTES = 1_500  # of a picture's frames; its ids have two bytes, as with 16,384 codes

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_deepseek(tmp_path_factory.mktemp("janus"), Sizes(side=SIDE, codes=512, layers=1))


@pytest.fixture(scope="module")
def server(model_folder: Path) -> Iterator[RowcastServer]:
    with running_server(model_folder, threads=2) as server:
        yield server


async def test_our_client_paints_it_and_openais_package_the_same(server: RowcastServer) -> None:
    async with rowcast.connect(server.ws_url) as client:
        before = client.bytes_received
        pixels = client.session.model().pixels_per_token
        (end,) = await client.pictures(PROMPT, seed=7)
        assert client.bytes_received - before <= MOST_BYTES
    assert end.picture.ids.shape == (SIDE, SIDE)
    assert end.image is not None
    assert end.image.size == (SIDE * pixels, SIDE * pixels)
    async with sdk(server.ws_url) as client_of_openai:
        answer = await client_of_openai.images.generate(prompt=PROMPT, extra_body={"seed": 7})
    assert answer.data is not None
    np.testing.assert_array_equal(pixels_in(answer.data[0].b64_json), np.asarray(end.image))


def test_a_server_that_is_started_anew_draws_on(server: RowcastServer, model_folder: Path) -> None:
    with rowcast.connect_sync(server.ws_url, decode=False) as client:
        (whole,) = client.pictures(PROMPT, seed=3)
        events = client.generate(PROMPT, seed=3)
        begun = next(event.picture for event in events if isinstance(event, RowsArrived))
        events.close()
    with (
        running_server(model_folder, threads=2) as another,
        rowcast.connect_sync(another.ws_url, decode=False) as client,
    ):
        *_, end = client.continue_picture(begun)
    assert end.picture.ids.tolist() == whole.picture.ids.tolist()
