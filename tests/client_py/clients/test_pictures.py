"""Both clients, against real servers over real sockets: pictures form, go on and are watched."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from rowcast.errors import (
    PictureGone,
)
from rowcast.events import PictureAccepted, PictureDone, RowsArrived
from rowcast.messages import DoneReason, view_key
from rowcast_server.server import RowcastServer

from tests.support.client.clients import (
    PROMPT,
    draws_another,
    first_rows,
    ids,
)
from tests.support.client.shells import Connect
from tests.support.fake_server import (
    Peer,
    accepted,
    done,
    fake_server,
    rows,
    welcome,
)
from tests.support.pace import paced_server

pytestmark = pytest.mark.timeout(40)  # a client that waits for ever must fail, not hang


def test_a_picture_forms_row_by_row(connect: Connect, tiny_server: RowcastServer) -> None:
    with connect(tiny_server.ws_url) as client:
        events = list(client.generate(PROMPT, seed=5))
    assert isinstance(events[0], PictureAccepted)
    drawn = [event for event in events if isinstance(event, RowsArrived)]
    assert drawn[0].first_row == 0
    for before, after in itertools.pairwise(drawn):
        assert after.first_row == before.first_row + len(before.rows)
    end = events[-1]
    assert isinstance(end, PictureDone)
    assert end.reason is DoneReason.COMPLETE
    assert np.concatenate([event.rows for event in drawn]).tolist() == ids(end)
    assert {event.seed for event in events} == {5}
    assert all(event.image is not None and event.image.size == (16, 16) for event in drawn)


def test_the_last_image_is_the_decode_of_the_whole_picture(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    with connect(tiny_server.ws_url) as client:
        (end,) = client.pictures(PROMPT)
        assert client.detokenizer is not None
        whole = client.detokenizer.decode(end.picture.grid[None])[0]
    assert np.array_equal(np.asarray(end.image), whole)


def test_the_same_seed_draws_the_same_ids(
    connect: Connect, tiny_server: RowcastServer, undisturbed: list[list[int]]
) -> None:
    with connect(tiny_server.ws_url, decode=False) as client:
        again = client.pictures(PROMPT, seed=5)
        other = client.pictures(PROMPT, seed=2**32 - 1)
    assert [ids(picture) for picture in again] == [undisturbed]
    assert [ids(picture) for picture in other] != [undisturbed]


def test_pictures_come_in_the_order_they_were_asked_for(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    with connect(tiny_server.ws_url, decode=False) as client:
        together = client.pictures(PROMPT, 6, seed=5)
        alone = client.pictures(PROMPT, seed=5, first_image=4)
    assert [picture.index for picture in together] == [0, 1, 2, 3, 4, 5]
    assert [picture.picture.recipe.image for picture in together] == [0, 1, 2, 3, 4, 5]
    assert len({str(ids(picture)) for picture in together}) == 6
    assert ids(alone[0]) == ids(together[4])


def test_without_decoding_nothing_is_fetched(
    connect: Connect, tiny_server: RowcastServer, own_cache: Path
) -> None:
    with connect(tiny_server.ws_url, decode=False) as client:
        assert all(event.image is None for event in client.generate(PROMPT))
        assert client.detokenizer is None
    assert not own_cache.exists()


def test_a_picture_stops_early_and_is_finished_later(
    connect: Connect, tiny_server: RowcastServer, undisturbed: list[list[int]]
) -> None:
    with connect(tiny_server.ws_url) as client:
        (stopped,) = client.pictures(PROMPT, seed=5, stop_row=2)
        assert stopped.reason is DoneReason.STOP_ROW
        assert ids(stopped) == undisturbed[:2]
        events = list(client.continue_picture(stopped.picture))
    assert ids(events[-1]) == undisturbed
    assert first_rows(iter(events)).first_row == 2
    assert events[0].image is not None  # the rows that were there from the start


def test_a_fork_keeps_its_first_rows_and_draws_other_ones_below(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    with connect(tiny_server.ws_url, decode=False) as client:
        (whole,) = client.pictures(PROMPT, seed=5)
        *_, fork = client.continue_picture(whole.picture, 1, seed=99)
    assert ids(fork)[0] == ids(whole)[0]
    assert ids(fork)[1:] != ids(whole)[1:]
    assert fork.seed == 99


def test_somebody_else_watches_by_the_view_key(connect: Connect, tiny_folder: Path) -> None:
    with (
        paced_server(tiny_folder) as (server, gate),
        connect(server.ws_url) as owner,
        connect(server.ws_url) as viewer,
    ):
        events = owner.generate(PROMPT, 2, seed=5)
        next(events)
        key = view_key(owner.session.active[0].key)  # while both are being drawn
        gate.open()
        *_, end = events
        seen = [event for event in viewer.watch(key, 2) if isinstance(event, PictureDone)]
        assert str(ids(end)) in {str(ids(event)) for event in seen}
        assert len(seen) == 2
        with pytest.raises(PictureGone) as caught:
            list(viewer.watch(bytes(16)))
        assert caught.value.retry_seconds is None
        draws_another(viewer)


def test_bytes_received_are_those_of_the_frames(connect: Connect) -> None:
    frames = [accepted(), rows(0), rows(1, 3), done()]

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(*frames)
        await peer.connection.wait_closed()

    with fake_server(script) as fake, connect(fake.url, decode=False) as client:
        before = client.bytes_received
        client.pictures(PROMPT)
        assert before == len(welcome()) + 4
        assert client.bytes_received - before == sum(len(frame) + 2 for frame in frames)
