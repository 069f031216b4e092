"""Helpers of tests that drive both clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import rowcast
from msgspec.structs import replace
from rowcast.events import Event, PictureDone, RowsArrived
from rowcast.messages import DoneReason, Model, view_key
from rowcast_server.server import RowcastServer

from tests.support.client.shells import Client, Connect

PROMPT = "a red boat"


def ids(event: Event) -> list[list[int]]:
    grid: list[list[int]] = event.picture.grid.tolist()
    return grid


def first_rows(events: Iterator[Event]) -> RowsArrived:
    """The first rows of a picture; the iterator can be used further."""
    return next(event for event in events if isinstance(event, RowsArrived))


def opens(connect: Connect, url: str, **options: Any) -> None:
    with connect(url, **options):
        pass


def draws_another(client: Client) -> None:
    (done,) = client.pictures(PROMPT, seed=6)
    assert done.reason is DoneReason.COMPLETE


def announced_by(server: RowcastServer) -> Model:
    """The model that a server announces, its files by whole URLs: for another to announce it."""
    with rowcast.connect_sync(server.ws_url, decode=False) as client:
        model = client.session.model()
    files = [replace(file, url=f"{server.http_url}/{file.url}") for file in model.files]
    return replace(model, files=files)


def reason_of_the_end(server: RowcastServer, key: bytes) -> DoneReason | int:
    with rowcast.connect_sync(server.ws_url, decode=False) as viewer:
        *_, end = viewer.watch(view_key(key))
        assert isinstance(end, PictureDone)
        return end.reason
