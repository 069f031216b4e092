"""Gateways beside each other: pictures watched elsewhere, and drawn on where a gateway is lost."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from rowcast.messages import DoneReason, ErrorCode, view_key
from rowcast_server.cluster import others
from rowcast_server.errors import Refused

from tests.support.clustered.gateways import GRACE, FakeCluster, is_at
from tests.support.fakes import KEY, WHOLE, ids_of
from tests.support.raw_client import until


@pytest.mark.parametrize("rows", [0, 2, 4])
async def test_a_picture_is_watched_at_another_gateway(fakes: FakeCluster, rows: int) -> None:
    one, other = await fakes.gateway(), await fakes.gateway()
    picture = one.start()
    stream = await one.replicas.stream()
    stream.place(0)
    if rows:
        stream.draw(rows)
    await until(lambda: picture.rows == rows)
    await asyncio.sleep(0.05)  # published
    mirror = await other.seek()
    assert mirror is not None
    assert mirror.is_mirror
    assert (bytes(mirror.ids), mirror.place) == (ids_of(0, 0, rows), 0)
    assert (mirror.order, mirror.owner) == (picture.order, picture.owner)
    if rows < 4:
        stream.draw(4 - rows)
    await until(lambda: mirror.ended)
    assert (bytes(mirror.ids), mirror.reason) == (WHOLE, DoneReason.COMPLETE)
    assert other.replicas.streams == []


async def test_its_place_in_the_queue_is_told_there(fakes: FakeCluster) -> None:
    one, other = await fakes.gateway(), await fakes.gateway()
    one.start()
    stream = await one.replicas.stream()
    stream.place(7)
    await asyncio.sleep(0.05)
    mirror = await other.seek()
    assert mirror is not None
    assert mirror.place == 7
    stream.place(0)
    await until(lambda: mirror.place == 0)


async def test_a_failure_is_told_there(fakes: FakeCluster) -> None:
    one, other = await fakes.gateway(), await fakes.gateway()
    one.start()
    await asyncio.sleep(0.05)
    mirror = await other.seek()
    assert mirror is not None
    (await one.replicas.stream()).fail()
    await until(lambda: mirror.ended)
    assert isinstance(mirror.reason, Refused)
    assert mirror.reason.code == ErrorCode.INTERNAL


async def test_nobodys_picture_is_nowhere(fakes: FakeCluster) -> None:
    one, other = await fakes.gateway(), await fakes.gateway()
    assert await one.seek() is None
    other.line.is_cut = True
    assert await other.seek() is None


async def test_what_its_gateway_has_forgotten_is_gone_everywhere(fakes: FakeCluster) -> None:
    one, other = await fakes.gateway(), await fakes.gateway()
    picture = one.start()
    await asyncio.sleep(0.05)
    one.leave(picture)
    one.book._end_by_grace(picture)
    assert await one.seek() is None
    await asyncio.sleep(0.05)
    assert await other.seek() is None


async def test_who_watches_elsewhere_keeps_it_alive(fakes: FakeCluster) -> None:
    one, other = await fakes.gateway(), await fakes.gateway()
    picture = one.start()
    await asyncio.sleep(0.05)
    mirror = await other.seek()
    assert mirror is not None
    await until(lambda: len(picture.viewers) == 2)
    one.leave(picture)
    assert picture.timer is None or picture.timer.cancelled()  # type: ignore[attr-defined]
    other.leave(mirror)
    other.book._end_by_grace(mirror)
    await until(lambda: picture.ended)
    assert picture.reason is DoneReason.CANCELLED


async def test_an_owner_who_came_to_another_gateway_cancels_there(fakes: FakeCluster) -> None:
    one, other = await fakes.gateway(), await fakes.gateway()
    picture = one.start()
    await asyncio.sleep(0.05)
    mirror = await other.seek()
    assert mirror is not None
    other.book.cancel(mirror)
    await until(lambda: picture.ended)
    assert picture.reason is DoneReason.CANCELLED


@pytest.mark.parametrize("way", ["killed", "stopped"])
async def test_a_lost_gateways_picture_is_drawn_on_by_one_who_follows(
    fakes: FakeCluster, way: str
) -> None:
    lost, one, other = [await fakes.gateway() for _ in range(3)]
    lost.start()
    (await lost.replicas.stream()).draw(2)
    await asyncio.sleep(0.05)
    mirrors = [await one.seek(), await other.seek()]
    if way == "killed":
        lost.die()
        fakes.clock.now += 3.1
        await fakes.report()
    else:
        await lost.engines.close()
    await until(lambda: one.replicas.streams or other.replicas.streams)
    await asyncio.sleep(0.05)
    (stream,) = one.replicas.streams + other.replicas.streams
    prefix = stream.job.request.prefix
    assert prefix is not None
    assert prefix.astype("<u2").tobytes() == ids_of(0, 0, 2)
    stream.draw(2)
    for mirror in mirrors:
        assert mirror is not None
        await until(partial(is_at, mirror, rows=4, ended=True))
        assert (bytes(mirror.ids), mirror.reason) == (WHOLE, DoneReason.COMPLETE)


async def test_what_nobody_follows_waits_for_who_seeks_it(fakes: FakeCluster) -> None:
    lost, one = await fakes.gateway(), await fakes.gateway()
    for image in (0, 1):
        lost.start(image)
        (await lost.replicas.stream(image)).draw()
    await asyncio.sleep(0.05)
    await lost.engines.close()
    found = await one.seek(0)
    assert found is not None
    assert not found.is_mirror
    (await one.replicas.stream()).draw(3)
    await until(lambda: found.ended)
    assert bytes(found.ids) == WHOLE
    fakes.clock.now += GRACE + 1
    assert await one.seek(1) is None


async def test_a_directory_that_begins_anew_is_told_all(fakes: FakeCluster) -> None:
    one, other = await fakes.gateway(), await fakes.gateway()
    one.start()
    stream = await one.replicas.stream()
    stream.draw()
    await asyncio.sleep(0.05)
    mirror = await other.seek()
    assert mirror is not None
    fakes.begin_anew()
    await fakes.report()
    stream.draw()
    await until(lambda: mirror.rows == 2)
    stream.draw(2)
    await until(lambda: mirror.ended)
    assert (bytes(mirror.ids), mirror.reason) == (WHOLE, DoneReason.COMPLETE)


async def test_a_mirror_is_drawn_on_whose_gateway_went_with_the_directory(
    fakes: FakeCluster,
) -> None:
    lost, other = await fakes.gateway(), await fakes.gateway()
    lost.start()
    (await lost.replicas.stream()).draw()
    await asyncio.sleep(0.05)
    mirror = await other.seek()
    lost.die()
    fakes.begin_anew()
    await fakes.report()
    (await other.replicas.stream()).draw(3)
    assert mirror is not None
    await until(lambda: mirror.ended)
    assert bytes(mirror.ids) == WHOLE


async def test_what_the_directory_did_not_hear_is_told_later(fakes: FakeCluster) -> None:
    one, other = await fakes.gateway(), await fakes.gateway()
    one.line.is_cut = True
    picture = one.start()
    stream = await one.replicas.stream()
    for rows in range(1, 4):
        stream.draw()
        await until(partial(is_at, picture, rows=rows))
        await asyncio.sleep(0.01)
    one.line.is_cut = False
    stream.draw()
    await until(lambda: picture.ended)
    await until(lambda: (view_key(KEY), 0) in fakes.directory._entries)
    await asyncio.sleep(0.05)
    mirror = await other.seek()
    assert mirror is not None
    assert (bytes(mirror.ids), mirror.reason) == (WHOLE, DoneReason.COMPLETE)


async def test_a_directory_that_stays_silent_is_a_lost_cluster(
    fakes: FakeCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(others, "PATIENCE_SECONDS", 0.1)
    gateway = await fakes.gateway()
    told: list[bool] = []
    gateway.others.on_lost = lambda: told.append(gateway.others.is_lost)
    gateway.line.is_cut = True
    await until(lambda: told)
    gateway.line.is_cut = False
    await until(lambda: "answers again" in caplog.text)
    assert told == [True]
    assert caplog.text.count("does not answer") == 1


async def test_a_clients_share_is_of_all_gateways(fakes: FakeCluster) -> None:
    one, other = await fakes.gateway(), await fakes.gateway()
    one.book._client_pictures = other.book._client_pictures = 2
    one.start(0, "somebody")
    one.start(1, "somebody else")
    await until(lambda: other.others.taken("somebody") == 1)
    other.start(2, "somebody")
    with pytest.raises(Refused, match="2 of your pictures"):
        other.start(3, "somebody")
    other.start(4, "somebody else")
