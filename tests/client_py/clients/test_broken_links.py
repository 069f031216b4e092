"""Both clients, and links that break: pictures go on where they broke."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rowcast.errors import (
    ConnectionLost,
    PictureGone,
    RequestRefused,
)
from rowcast.events import PictureDone
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
    fake_server,
)
from tests.support.pace import paced_server
from tests.support.proxy import proxy
from tests.support.servers import running_server
from tests.support.tiny_model import tiny_model

pytestmark = pytest.mark.timeout(40)  # a client that waits for ever must fail, not hang


def test_a_broken_link_is_taken_up_where_it_broke(
    connect: Connect, tiny_folder: Path, undisturbed: list[list[int]]
) -> None:
    with (
        paced_server(tiny_folder) as (server, gate),
        proxy(server.ws_url) as link,
        connect(link.url, decode=False) as client,
    ):
        events = client.generate(PROMPT, seed=5)
        gate.allow(rows=2)
        first_rows(events)
        link.cut()
        gate.open()
        *_, end = events
        assert isinstance(end, PictureDone)
        assert ids(end) == undisturbed
        assert link.connections == 2


def test_a_link_that_breaks_before_anything_came(
    connect: Connect, undisturbed: list[list[int]], tiny_server: RowcastServer
) -> None:
    async def vanish(peer: Peer) -> None:
        await peer.greet()
        peer.drop()

    with (
        fake_server(vanish) as fake,
        proxy(fake.url) as link,
        connect(link.url, decode=False) as client,
    ):
        link.target = tiny_server.ws_url  # for the connections after the first
        (end,) = client.pictures(PROMPT, seed=5)
    assert ids(end) == undisturbed


def test_another_server_of_the_same_model_draws_on(
    connect: Connect, tiny_folder: Path, tiny_server: RowcastServer, undisturbed: list[list[int]]
) -> None:
    with (
        paced_server(tiny_folder) as (server, gate),
        proxy(server.ws_url) as link,
        connect(link.url) as client,
    ):
        events = client.generate(PROMPT, 2, seed=5)
        gate.allow(rows=2)
        first_rows(events)
        link.target = tiny_server.ws_url
        link.cut()
        ends = {e.index: e for e in events if isinstance(e, PictureDone)}
        assert ids(ends[0]) == undisturbed
        assert [ends[index].reason for index in (0, 1)] == [DoneReason.COMPLETE] * 2


def test_a_server_of_another_revision_does_not_draw_on(
    connect: Connect, tiny_folder: Path, tmp_path: Path
) -> None:
    other = tiny_model(tmp_path / "other", seed=1)
    with (
        paced_server(tiny_folder) as (server, gate),
        running_server(other) as stranger,
        proxy(server.ws_url) as link,
        connect(link.url, decode=False) as client,
    ):
        events = client.generate(PROMPT, seed=5)
        gate.allow(rows=1)
        first_rows(events)
        link.target = stranger.ws_url
        link.cut()
        with pytest.raises(RequestRefused) as caught:
            list(events)
        assert caught.value.code == "wrong_revision"
        assert caught.value.pictures[0].rows_held == 1
        draws_another(client)


def test_a_watched_picture_is_gone_with_its_server(
    connect: Connect, tiny_folder: Path, tiny_server: RowcastServer
) -> None:
    with (
        paced_server(tiny_folder) as (server, gate),
        proxy(server.ws_url) as link,
        connect(server.ws_url, decode=False) as owner,
        connect(link.url, decode=False) as viewer,
    ):
        owned = owner.generate(PROMPT)
        next(owned)
        watched = viewer.watch(view_key(owner.session.active[0].key))
        gate.allow(rows=1)
        first_rows(watched)
        link.target = tiny_server.ws_url
        link.cut()
        with pytest.raises(PictureGone) as caught:
            list(watched)
        assert caught.value.pictures[0].rows_held == 1


def test_a_connection_lost_while_idle_is_opened_again(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    with proxy(tiny_server.ws_url) as link, connect(link.url, decode=False) as client:
        draws_another(client)
        link.cut()
        time.sleep(0.1)  # both ends notice
        (end, *_) = client.pictures(PROMPT, 3, seed=5)
        assert end.seed == 5
        assert link.connections == 2


def test_a_request_after_the_link_was_given_up_tries_anew(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    with (
        proxy(tiny_server.ws_url) as link,
        connect(link.url, decode=False, reconnect=1.0) as client,
    ):
        link.target = "ws://127.0.0.1:1"  # nobody is there
        link.cut()
        with pytest.raises(ConnectionLost, match="reconnecting failed"):
            client.pictures(PROMPT, seed=5)
        link.target = tiny_server.ws_url
        (end,) = client.pictures(PROMPT, seed=5)
        assert end.reason == DoneReason.COMPLETE


def test_a_server_that_dies_leaves_what_had_arrived(connect: Connect, tmp_path: Path) -> None:
    large = tiny_model(tmp_path / "large", rows=64, cols=64)  # seconds to draw
    command = [sys.executable, "-m", "rowcast", "serve", "--model", str(large)]
    command += ["--threads", "1", "--port", "0", "--http-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[1]
            with connect(url, decode=False, reconnect=0.5) as client:
                events = client.generate(PROMPT, seed=5)
                held = first_rows(events).rows
                process.kill()
                process.wait()
                with pytest.raises(ConnectionLost, match="reconnecting failed") as caught:
                    list(events)
        finally:
            process.kill()
    (picture,) = caught.value.pictures
    assert 0 < picture.rows_held < 64
    assert np.array_equal(picture.grid[: len(held)], held)
