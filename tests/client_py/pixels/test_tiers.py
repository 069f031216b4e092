"""Both clients over real sockets: pictures are seen at once, get better, and end as they should."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rowcast
from numpy.typing import NDArray
from rowcast.errors import ConnectionLost, InvalidRequest
from rowcast.events import Event, PictureDone, PictureRepainted, RowsArrived
from rowcast.generation import Generation
from rowcast.messages import Model
from rowcast.pixels.detokenizer import Detokenizer
from rowcast.pixels.palette import Palette
from rowcast.session import ClientSession
from rowcast_server.server import RowcastServer

from tests.support.client.easels import PlainDecoder, plain_tier
from tests.support.client.shells import Client, Connect
from tests.support.client.shop import ALL, Shop
from tests.support.fake_server import CODES, Peer, accepted, done, fake_server, rows
from tests.support.servers import running_server
from tests.support.tiny_model import PIXELS_PER_TOKEN, tiny_detokenizer, tiny_palette

pytestmark = pytest.mark.timeout(40)

PROMPT = "a red boat"


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with all tiers."""
    made = tmp_path_factory.mktemp("tiers") / "tiny"
    shutil.copytree(tiny_folder, made)
    tiny_palette(made / "palette.npy", CODES)
    preview = {"rowcast.kind": "preview", "rowcast.precision": "fp16"}
    tiny_detokenizer(made / "preview.onnx", CODES, **preview)
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RowcastServer]:
    with running_server(folder) as running:
        yield running


def pixels(event: Event) -> NDArray[np.uint8]:
    assert event.image is not None
    return np.asarray(event.image)


def loader_of(client: Client) -> Any:
    return (client if isinstance(client, rowcast.SyncClient) else client.client)._loader


# On a real server


def test_a_picture_of_full_quality_is_the_full_decode_however_it_was_shown(
    connect: Connect, server: RowcastServer, folder: Path
) -> None:
    whole = Detokenizer(folder / "detokenizer.onnx")
    for _ in range(2):  # the first visit, and one with all files there
        with connect(server.ws_url) as client:
            events = list(client.generate(PROMPT, 3, seed=5))
            assert client.tiers[-1] == "full fp32 on cpu"
        ends = [event for event in events if isinstance(event, PictureDone)]
        assert len(ends) == 3
        for end in ends:
            assert end.tier == "full"
            assert np.array_equal(pixels(end), whole.decode(end.picture.grid[None])[0])
        assert all(event.image for event in events if isinstance(event, RowsArrived))


@pytest.mark.parametrize(
    ("quality", "kept"), [("palette", {".npy": 1}), ("preview", {".npy": 1, ".onnx": 1})]
)
def test_a_lower_quality_never_fetches_the_full_file(
    connect: Connect, server: RowcastServer, own_cache: Path, quality: str, kept: dict[str, int]
) -> None:
    with connect(server.ws_url, quality=quality) as client:
        (end,) = client.pictures(PROMPT, seed=5)
        assert client.detokenizer is not None
        whole = client.detokenizer.decode(end.picture.grid[None])[0]
        assert isinstance(client.detokenizer, Palette) == (quality == "palette")
    assert end.tier == quality
    assert np.array_equal(pixels(end), whole)
    suffixes = [path.suffix for path in own_cache.iterdir()]
    assert {suffix: suffixes.count(suffix) for suffix in suffixes} == kept
    # The recipe names the full file all the same: it is what the picture can be painted with.
    assert end.picture.recipe.detokenizer_sha256 is not None


def test_seamless_pictures_end_painted_by_the_full_decoder(
    connect: Connect, server: RowcastServer, folder: Path
) -> None:
    with connect(server.ws_url) as client:
        ended = client.pictures(PROMPT, 4, seed=5, seamless=True)
    mosaic = rowcast.Mosaic.of([each.picture for each in ended])
    whole = np.asarray(mosaic.paint(Detokenizer(folder / "detokenizer.onnx")))
    assert all(np.array_equal(pixels(each), whole) for each in ended)


def test_what_cannot_be_chosen_is_told_before_anything_is_opened(connect: Connect) -> None:
    with pytest.raises(InvalidRequest, match="quality must be one of"):
        connect("ws://127.0.0.1:1", quality="best").__enter__()
    with pytest.raises(InvalidRequest, match="providers must be some of"):
        connect("ws://127.0.0.1:1", providers=("tpu",)).__enter__()


# While files are on their way


def playing(model: Model, go_on: threading.Event) -> Any:
    async def script(peer: Peer) -> None:
        await peer.greet(model)
        await peer.send(accepted(), rows(0, 2))
        await asyncio.to_thread(go_on.wait)
        await peer.send(rows(2, 2), done())
        await peer.connection.wait_closed()

    return script


def test_rows_are_seen_at_once_and_repainted_when_the_file_is_there(
    connect: Connect, shop: Shop
) -> None:
    go_on = threading.Event()
    whole = Detokenizer(shop.contents["full"])
    side = PIXELS_PER_TOKEN
    with (
        fake_server(playing(shop.model("palette", "full"), go_on)) as fake,
        connect(fake.url) as client,
    ):
        events = client.generate(PROMPT)
        drawn = next(event for event in events if isinstance(event, RowsArrived))
        assert drawn.tier == "palette"
        assert client.detokenizer is None
        shop.gate.set()
        # Nothing arrives by the socket: it is the file that makes the next event.
        repainted = next(events)
        assert isinstance(repainted, PictureRepainted)
        assert repainted.tier == "full"
        two = whole.decode(drawn.picture.grid[None])[0]
        assert np.array_equal(pixels(repainted)[: 2 * side], two)
        assert not np.array_equal(pixels(drawn)[: 2 * side], two)
        go_on.set()
        *_, end = events
    assert np.array_equal(pixels(end), whole.decode(end.picture.grid[None])[0])


def test_the_end_waits_for_the_full_file(connect: Connect, shop: Shop) -> None:
    go_on = threading.Event()
    go_on.set()
    with (
        fake_server(playing(shop.model(*ALL), go_on)) as fake,
        connect(fake.url) as client,
    ):
        threading.Timer(0.3, shop.gate.set).start()
        begun = time.monotonic()
        (end,) = client.pictures(PROMPT)
        assert time.monotonic() - begun > 0.2
        assert client.tiers == ("palette uint8", "preview fp32 on cpu", "full fp32 on cpu")
    assert end.tier == "full"


def test_closing_a_client_that_waits_for_a_file_takes_no_time(connect: Connect, shop: Shop) -> None:
    go_on = threading.Event()
    go_on.set()
    with fake_server(playing(shop.model("palette", "full"), go_on)) as fake:
        with connect(fake.url) as client:
            for event in client.generate(PROMPT):
                if isinstance(event, RowsArrived) and event.picture.complete:
                    break
            begun = time.monotonic()
        assert time.monotonic() - begun < 8


async def test_closing_a_client_ends_whoever_waits_for_a_file(shop: Shop) -> None:
    go_on = threading.Event()
    go_on.set()
    with fake_server(playing(shop.model("palette", "full"), go_on)) as fake:
        async with rowcast.connect(fake.url) as client:
            complete = asyncio.Event()

            async def follow() -> None:
                async for event in client.generate(PROMPT):
                    if event.picture.complete:
                        complete.set()

            task = asyncio.create_task(follow())
            await complete.wait()
            await asyncio.sleep(0.1)
            assert not task.done()  # it waits for the end of the picture
        # Its ids are all there, its pixels are not.
        with pytest.raises(ConnectionLost, match="closed before the picture was painted") as caught:
            await asyncio.wait_for(task, 5)
        assert caught.value.pictures[0].complete


# A viewer that is slow


@dataclass
class SlowDecoder(PlainDecoder):
    """Takes a while; notes whether it was alone, and what there was when it began."""

    session: ClientSession | None = None
    generation: Generation | None = None
    in_flight: int = 0
    most_in_flight: int = 0
    began_with: list[int] = field(default_factory=list)

    def paint(self, grid: NDArray[np.integer], rows: int) -> NDArray[np.uint8]:
        if self.generation is None:
            assert self.session is not None
            (self.generation,) = self.session.active
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.began_with.append(self.generation.pictures[0].rows_held)
        time.sleep(0.15)
        self.in_flight -= 1
        return super().paint(grid, rows)


def test_rows_do_not_wait_for_a_slow_decode_which_is_of_the_newest_ones(
    connect: Connect, shop: Shop
) -> None:
    """R-48: the reader goes on while a picture is decoded."""

    async def script(peer: Peer) -> None:
        await peer.greet(shop.model("palette"))
        await peer.send(accepted(), rows(0))
        for row in (1, 2, 3):
            await asyncio.sleep(0.03)
            await peer.send(rows(row))
        await peer.send(done())
        await peer.connection.wait_closed()

    with fake_server(script) as fake, connect(fake.url, quality="palette") as client:
        slow = SlowDecoder((4, 4, 4))
        loader = loader_of(client)
        loader.last_name = "full"
        loader.add(plain_tier("full", slow))
        slow.session = client.session
        events = list(client.generate(PROMPT))
    drawn = [event for event in events if isinstance(event, RowsArrived)]
    assert sum(len(event.rows) for event in drawn) == 4
    assert drawn[0].tier == "palette"
    assert slow.most_in_flight == 1
    assert slow.painted[0] < 4
    assert slow.painted[-1] == 4
    assert len(slow.painted) <= 3  # four rows in 90 ms, decodes of 150
    # Each is of all rows that there were when it began (one may come in between).
    assert all(there - new <= 1 for new, there in zip(slow.painted, slow.began_with, strict=True))
    assert isinstance(events[-1], PictureDone)
    assert (pixels(events[-1]) == 4).all()
