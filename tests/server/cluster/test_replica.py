"""A replica: each picture is a stream of what its engine tells, and who leaves it cancels."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rowcast_server.cluster import replica as module
from rowcast_server.cluster.crossing import Item, Job, packed, unpacked
from rowcast_server.cluster.replica import Replica
from rowcast_server.cluster.seam import ReplicaState
from rowcast_server.engine.request import (
    Ending,
    EngineEvent,
    PictureEnded,
    PicturePlaced,
    PictureRequest,
    RowDrawn,
)
from rowcast_server.errors import Refused
from rowcast_server.models.loading import load
from rowcast_server.network.facts import Sampling
from rowcast_server.runners import make_fleet

from tests.support.raw_client import until
from tests.support.servers import TEST_CONFIG

ROWS = 4


@pytest.fixture
async def replica(tiny_folder: Path) -> AsyncIterator[Replica]:
    config = replace(TEST_CONFIG, slots=2, queue_limit=1)
    found = Replica("one", "57ee", make_fleet(load(str(tiny_folder)), config))
    yield found
    await found.close()


@pytest.fixture
def job(tiny_folder: Path) -> Job:
    text = load(str(tiny_folder)).text_ids("a red house")
    return Job(PictureRequest(text, 5, 0, Sampling(), ROWS), "somebody")


def rows_of(items: list[Item]) -> list[RowDrawn]:
    return [event for event in unpacked(0, items) if isinstance(event, RowDrawn)]


async def drawn(replica: Replica, job: Job) -> list[Item]:
    return [item async for items in replica.draw(job) for item in items]


async def test_a_picture_is_a_stream_to_its_end(replica: Replica, job: Job) -> None:
    items = await drawn(replica, job)
    assert items[0] == ("placed", 0, b"")
    assert items[-1] == ("ended", "drawn", "")
    rows = rows_of(items)
    assert [row.row for row in rows] == list(range(ROWS))
    half = np.stack([row.ids for row in rows[:2]])
    rest = await drawn(replica, replace(job, request=replace(job.request, prefix=half)))
    assert [row.ids.tolist() for row in rows_of(rest)] == [row.ids.tolist() for row in rows[2:]]


async def test_who_leaves_the_stream_cancels_the_picture(replica: Replica, job: Job) -> None:
    async with aclosing(replica.draw(job)) as stream:
        await anext(stream)
        assert replica.state.drawing == 1
    await until(lambda: (replica.state.drawing, replica.state.waiting) == (0, 0))
    assert replica.state == ReplicaState("one", "57ee", 0, 0, 2, 1)


async def test_a_full_queue_refuses(replica: Replica, job: Job) -> None:
    streams = [replica.draw(job) for _ in range(4)]
    for stream in streams[:3]:
        await anext(stream)
    with pytest.raises(Refused, match="3 pictures"):
        await anext(streams[3])
    for stream in streams:
        await stream.aclose()


async def test_an_engine_that_hangs_is_not_well(
    replica: Replica, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica.check()
    async with aclosing(replica.draw(job)) as stream:
        await anext(stream)
        replica.check()
        monkeypatch.setattr(module, "STUCK_SECONDS", -1.0)
        with pytest.raises(RuntimeError, match="drawn no row"):
            replica.check()


EVENTS: list[EngineEvent] = [
    PicturePlaced(7, 3),
    RowDrawn(7, 2, np.array([0, 65_535, 4_294_967_295], np.int64)),
    PictureEnded(7, Ending.FAILED, "why"),
    PictureEnded(7, Ending.DRAWN),
]


def test_events_cross_as_plain_values() -> None:
    items = packed(EVENTS)
    assert all(type(value) in (str, int, bytes) for item in items for value in item)
    crossed = unpacked(9, items)
    assert [type(event) for event in crossed] == [type(event) for event in EVENTS]
    assert {event.picture for event in crossed} == {9}
    placed, row, *ends = crossed
    assert placed == PicturePlaced(9, 3)
    assert isinstance(row, RowDrawn)
    assert (row.row, row.ids.tolist()) == (2, [0, 65_535, 2**32 - 1])
    assert row.ids.dtype == np.int64
    assert ends == [PictureEnded(9, Ending.FAILED, "why"), PictureEnded(9, Ending.DRAWN)]


@pytest.mark.parametrize(
    "item", [("moved", 1, b""), ("row", "1", b""), ("ended", "eaten", ""), ("row", 1, b"abc")]
)
def test_what_no_replica_sends_is_an_error(item: Item) -> None:
    with pytest.raises(ValueError, match=r"a replica sent|buffer size|valid Ending"):
        unpacked(0, [item])
