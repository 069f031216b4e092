"""A cluster's replicas as one engine: streams that break are taken up from the rows that came."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from rowcast.messages import DoneReason, ErrorCode
from rowcast_server.cluster import remote
from rowcast_server.errors import Refused

from tests.support.clustered.gateways import PLACES, SLOTS, FakeCluster, is_at
from tests.support.fakes import WHOLE, ids_of
from tests.support.raw_client import until


async def test_rows_and_an_end_come_as_from_one_engine(fakes: FakeCluster) -> None:
    gateway = await fakes.gateway()
    picture = gateway.start()
    stream = await gateway.replicas.stream()
    assert stream.job.client == "somebody"
    for place in (2, 1, 0):
        stream.place(place)
        await until(partial(is_at, picture, place=place))
    stream.draw(3)
    await until(lambda: picture.rows == 3)
    stream.draw()
    await until(lambda: picture.ended)
    assert (bytes(picture.ids), picture.reason) == (WHOLE, DoneReason.COMPLETE)
    await until(lambda: stream.left)


@pytest.mark.parametrize("rows", [0, 1, 3])
async def test_a_broken_stream_is_taken_up_with_its_rows_as_prefix(
    fakes: FakeCluster, rows: int
) -> None:
    gateway = await fakes.gateway()
    picture = gateway.start()
    first = await gateway.replicas.stream()
    first.place(0)
    if rows:
        first.draw(rows)
    first.breaks()
    second = await gateway.replicas.stream(1)
    prefix = second.job.request.prefix
    given = b"" if prefix is None else prefix.astype("<u2").tobytes()
    assert given == ids_of(0, 0, rows)
    second.draw(4 - rows)
    await until(lambda: picture.ended)
    assert (bytes(picture.ids), picture.reason) == (WHOLE, DoneReason.COMPLETE)


async def test_breaks_again_and_again_add_up_and_none_is_doubled(fakes: FakeCluster) -> None:
    gateway = await fakes.gateway()
    picture = gateway.start()
    for number in range(4):
        stream = await gateway.replicas.stream(number)
        stream.draw(1, end=False)
        await until(partial(is_at, picture, rows=number + 1))
        stream.breaks()
    await until(lambda: picture.ended)  # the last row had come, its end had not
    assert (bytes(picture.ids), picture.reason) == (WHOLE, DoneReason.COMPLETE)
    assert len(gateway.replicas.streams) == 4


async def test_a_picture_that_has_begun_is_told_of_no_other_queue(fakes: FakeCluster) -> None:
    gateway = await fakes.gateway()
    picture = gateway.start()
    first = await gateway.replicas.stream()
    first.place(0)
    first.draw()
    first.breaks()
    second = await gateway.replicas.stream(1)
    second.place(3)
    second.draw()
    await until(lambda: picture.rows == 2)
    assert picture.place == 0


async def test_who_gets_nothing_from_any_replica_fails(
    fakes: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "MOST_ATTEMPTS", 3)
    gateway = await fakes.gateway()
    picture = gateway.start()
    (await gateway.replicas.stream()).draw()
    for number in range(4):  # rows begin the count anew
        (await gateway.replicas.stream(number)).breaks()
    await until(lambda: picture.ended)
    assert isinstance(picture.reason, Refused)
    assert picture.reason.text == remote.LOST
    assert bytes(picture.ids) == ids_of(0, 0, 1)


async def test_what_an_engine_fails_is_not_tried_elsewhere(fakes: FakeCluster) -> None:
    gateway = await fakes.gateway()
    picture = gateway.start()
    (await gateway.replicas.stream()).fail()
    await until(lambda: picture.ended)
    assert isinstance(picture.reason, Refused)
    assert picture.reason.text == "not finite"
    assert len(gateway.replicas.streams) == 1


async def test_who_cancels_leaves_the_stream(fakes: FakeCluster) -> None:
    gateway = await fakes.gateway()
    picture = gateway.start()
    stream = await gateway.replicas.stream()
    gateway.book.cancel(picture)
    await until(lambda: stream.left)
    gateway.engines.cancel(picture.number)
    await asyncio.sleep(0)
    assert len(gateway.replicas.streams) == 1


async def test_room_counts_what_other_gateways_have(fakes: FakeCluster) -> None:
    one, other = await fakes.gateway(), await fakes.gateway()
    assert one.engines.capacity == one.engines.room == (SLOTS, PLACES)
    for image in range(SLOTS - 1):
        one.start(image)
    await until(lambda: other.engines.room == (1, PLACES))
    for image in range(SLOTS, SLOTS + 3):
        other.start(image, client=image)
    await until(lambda: one.engines.room == (0, PLACES - 2))
    await fakes.report(slots=1)
    await until(lambda: one.engines.room == (0, PLACES - 5))
    await fakes.report(slots=0)
    for image in range(20, 20 + PLACES - 6):
        other.start(image, client=image)
    await until(lambda: one.engines.room == (0, 0))
    with pytest.raises(Refused) as refused:
        one.start(99, client="another")
    assert refused.value.code == ErrorCode.BUSY


async def test_replicas_that_fall_silent_do_not_count(fakes: FakeCluster) -> None:
    gateway = await fakes.gateway()
    fakes.clock.now += 10
    await until(lambda: gateway.engines.room == (0, 0))
