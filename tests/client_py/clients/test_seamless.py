"""Seamless requests by both clients: every event shows the whole mosaic so far."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rowcast
from PIL import Image
from rowcast.events import Event, PictureAccepted, PictureDone, RowsArrived
from rowcast.messages import view_key
from rowcast.pixels.detokenizer import PAPER
from rowcast.pixels.mosaic import Mosaic
from rowcast.pixels.tiers import Decoder
from rowcast_server.server import RowcastServer

from tests.support.client.clients import announced_by
from tests.support.client.mosaics import joined, pixels
from tests.support.client.shells import SHELLS, Connect
from tests.support.fake_server import Peer, accepted, done, fake_server, rows
from tests.support.pace import paced_server
from tests.support.tiny_model import PIXELS_PER_TOKEN

PROMPT = "a red boat"

SIDE = PIXELS_PER_TOKEN


@pytest.fixture(params=SHELLS)
def connect(request: pytest.FixtureRequest) -> Connect:
    return SHELLS[request.param]


def drawn(events: Iterator[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, PictureAccepted)]


def test_a_seamless_request_brings_the_whole_mosaic_with_every_event(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    with connect(tiny_server.ws_url) as client:
        events = drawn(client.generate(PROMPT, 4, seed=5, seamless=True))
        apart = client.pictures(PROMPT, 4, seed=5)
        detokenizer = client.detokenizer
    assert detokenizer is not None
    assert all(event.seamless for event in events)
    assert {event.index for event in events} == {0, 1, 2, 3}
    assert {pixels(event.image).shape for event in events} == {(8 * SIDE, 8 * SIDE, 3)}
    each = np.stack([event.picture.grid for event in apart])
    assert np.array_equal(pixels(events[-1].image), detokenizer.decode(joined(each, 2)[None])[0])
    assert not any(event.seamless for event in apart)
    assert {pixels(event.image).shape for event in apart} == {(4 * SIDE, 4 * SIDE, 3)}


def test_finished_seamless_pictures_all_bring_the_finished_mosaic(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    with connect(tiny_server.ws_url) as client:
        ended = client.pictures(PROMPT, 6, seed=5, seamless=True)
        assert client.detokenizer is not None
        whole = pixels(Mosaic.of([each.picture for each in ended]).paint(client.detokenizer))
    assert [each.index for each in ended] == list(range(6))
    assert all(np.array_equal(pixels(each.image), whole) for each in ended)


def test_a_viewer_sees_the_mosaic_too(connect: Connect, tiny_folder: Path) -> None:
    with (
        paced_server(tiny_folder) as (server, gate),
        connect(server.ws_url) as owner,
        connect(server.ws_url) as viewer,
    ):
        events = owner.generate(PROMPT, 4, seed=5, seamless=True)
        next(events)
        key = view_key(owner.session.active[0].key)  # while all are being drawn
        gate.open()
        *_, own = events
        *_, seen = viewer.watch(key, 4, seamless=True)
    assert np.array_equal(pixels(seen.image), pixels(own.image))


def test_without_decoding_a_seamless_request_brings_ids_alone(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    with connect(tiny_server.ws_url, decode=False) as client:
        events = list(client.generate(PROMPT, 4, seamless=True))
    assert all(event.image is None for event in events)
    assert isinstance(events[-1], PictureDone)


def test_a_slow_consumer_gets_the_newest_mosaic_by_one_painting(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    """What arrived while nobody looked is painted once, for whichever pictures it came."""
    go_on, sent = threading.Event(), threading.Event()
    model = announced_by(tiny_server)

    async def script(peer: Peer) -> None:
        await peer.greet(model)
        await peer.send(*(accepted(stream, revision=model.revision) for stream in range(4)))
        await peer.send(*(rows(0, 1, stream) for stream in range(4)))
        await asyncio.to_thread(go_on.wait)
        for row in (1, 2, 3):
            await peer.send(*(rows(row, 1, stream) for stream in range(4)))
        await (await peer.connection.ping())  # answered once all before it has been read
        sent.set()
        await peer.send(*(done(stream=stream) for stream in range(4)))
        await peer.connection.wait_closed()

    with fake_server(script) as fake, connect(fake.url) as client:
        events = client.generate(PROMPT, 4, seamless=True)
        first = next(event for event in events if isinstance(event, RowsArrived))
        assert (pixels(first.image)[SIDE : 4 * SIDE] == PAPER).all()
        go_on.set()
        assert sent.wait(10)  # meanwhile this consumer takes nothing
        time.sleep(0.1)
        rest = list(events)
        assert client.detokenizer is not None
        each = [event.picture for event in rest[-4:]]
        whole = pixels(Mosaic.of(each).paint(client.detokenizer))
    late = [event for event in rest if isinstance(event, RowsArrived)]
    assert sum(len(event.rows) for event in [first, *late]) == 16
    assert len(late) < 15
    assert len({id(event.image) for event in rest}) == 1
    assert np.array_equal(pixels(rest[-1].image), whole)


async def test_one_mosaic_is_painted_at_a_time_while_frames_are_read(
    tiny_server: RowcastServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    painting, held, paint = threading.Lock(), [], Mosaic.paint

    def slowly(mosaic: Mosaic, detokenizer: Decoder) -> Image.Image | None:
        assert painting.acquire(blocking=False)
        time.sleep(0.2)
        image = paint(mosaic, detokenizer)
        held.append(int((pixels(image) != PAPER).any(2).sum()))
        painting.release()
        return image

    monkeypatch.setattr(Mosaic, "paint", slowly)
    async with rowcast.connect(tiny_server.ws_url) as client:
        events = [event async for event in client.generate(PROMPT, 4, seed=5, seamless=True)]
    assert isinstance(events[-1], PictureDone)
    assert held[-1] == (8 * SIDE) ** 2
    assert len(held) <= 8  # of 16 rows: some states, then the newest
