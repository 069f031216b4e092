"""The bridge to the engine's thread, with engines that are full, that fail, and that are closed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Hashable
from typing import cast

import numpy as np
import pytest
from rowcast_server import bridge
from rowcast_server.bridge import EngineBridge
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import (
    Ending,
    EngineEvent,
    PictureEnded,
    PicturePlaced,
    PictureRequest,
    RowDrawn,
)
from rowcast_server.errors import Refused
from rowcast_server.network.facts import Sampling

REQUEST = PictureRequest((0, 2), 7, 0, Sampling(), 4)


class FakeEngine:
    """Draws a row of each picture a step, four rows a picture; steps only when allowed."""

    def __init__(self) -> None:
        self.rows: dict[int, int] = {}
        self.submitted: list[tuple[int, Hashable]] = []
        self.may_step = threading.Semaphore(0)
        self.threads: set[int] = set()
        self.fault: Exception | None = None  # raised once, by the next step
        self.refuses: Exception | None = None  # raised once, by the next submit
        self.cannot_cancel: Exception | None = None  # raised once, by the next cancel

    @property
    def idle(self) -> bool:
        return not self.rows

    def submit(self, picture: int, request: PictureRequest, client: Hashable) -> None:
        self.threads.add(threading.get_ident())
        refuses, self.refuses = self.refuses, None
        if refuses is not None:
            raise refuses
        self.submitted.append((picture, client))
        self.rows[picture] = 0

    def cancel(self, picture: int) -> list[EngineEvent]:
        fault, self.cannot_cancel = self.cannot_cancel, None
        if fault is not None:
            raise fault
        known = self.rows.pop(picture, None) is not None
        return [PictureEnded(picture, Ending.CANCELLED)] if known else []

    def fail_all(self, text: str) -> list[EngineEvent]:
        pictures = list(self.rows)
        self.rows.clear()
        return [PictureEnded(picture, Ending.FAILED, text) for picture in pictures]

    def step(self) -> list[EngineEvent]:
        self.threads.add(threading.get_ident())
        assert self.may_step.acquire(timeout=10)
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault
        events: list[EngineEvent] = []
        for picture, row in list(self.rows.items()):
            events += [
                PicturePlaced(picture, 0),
                RowDrawn(picture, row, np.full(4, row, np.int64)),
            ]
            self.rows[picture] += 1
            if row == 3:
                del self.rows[picture]
                events.append(PictureEnded(picture, Ending.DRAWN))
        return events


class Bench:
    """A bridge over a fake engine, and what it has delivered."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.events: list[EngineEvent] = []
        self.delivered_in: set[int] = set()
        self._news = asyncio.Event()
        self.bridge = EngineBridge(cast(Engine, self.engine), slots=3, places=0)

    def deliver(self, events: list[EngineEvent]) -> None:
        self.delivered_in.add(threading.get_ident())
        self.events += events
        self._news.set()

    def submit(self, *pictures: int) -> None:
        for picture in pictures:
            self.bridge.submit(picture, REQUEST, f"client of {picture}")

    def draw(self, steps: int = 4) -> None:
        self.engine.may_step.release(steps)

    def ends(self) -> dict[int, Ending]:
        return {e.picture: e.ending for e in self.events if isinstance(e, PictureEnded)}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await self._news.wait()
                self._news.clear()


def thread_of(bench: Bench) -> threading.Thread:
    thread = bench.bridge._thread
    assert thread is not None, "it was started"
    return thread


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    bench.bridge.start(bench.deliver)
    yield bench
    bench.draw(100)
    await bench.bridge.close()


async def test_what_is_drawn_arrives_in_order_in_the_loops_thread(bench: Bench) -> None:
    bench.submit(5)
    bench.draw()
    await bench.until(lambda: 5 in bench.ends())
    assert [event.row for event in bench.events if isinstance(event, RowDrawn)] == [0, 1, 2, 3]
    assert bench.ends() == {5: Ending.DRAWN}
    assert bench.delivered_in == {threading.get_ident()}
    assert threading.get_ident() not in bench.engine.threads
    assert bench.engine.submitted == [(5, "client of 5")]


async def test_a_full_engine_refuses_at_once_and_says_when_to_come_back(bench: Bench) -> None:
    bench.submit(0, 1, 2)
    with pytest.raises(Refused) as refused:
        bench.submit(3)
    assert refused.value.code == "busy"
    assert refused.value.retry_ms > 0


async def test_an_end_makes_room(bench: Bench) -> None:
    bench.submit(0, 1, 2)
    bench.draw()
    await bench.until(lambda: len(bench.ends()) == 3)
    bench.submit(3, 4, 5)


async def test_a_cancel_makes_room(bench: Bench) -> None:
    bench.submit(0, 1, 2)
    bench.bridge.cancel(1)
    bench.draw(1)
    await bench.until(lambda: 1 in bench.ends())
    bench.submit(3)
    with pytest.raises(Refused):
        bench.submit(4)


async def test_a_cancel_of_an_ended_picture_does_nothing(bench: Bench) -> None:
    bench.submit(0)
    bench.draw()
    await bench.until(lambda: 0 in bench.ends())
    bench.bridge.cancel(0)
    bench.bridge.cancel(77)
    bench.submit(1)
    bench.draw()
    await bench.until(lambda: 1 in bench.ends())
    assert bench.ends() == {0: Ending.DRAWN, 1: Ending.DRAWN}


async def test_a_step_that_fails_ends_its_pictures_and_nothing_else(bench: Bench) -> None:
    bench.submit(0, 1)
    bench.engine.fault = RuntimeError("a device was lost")
    bench.draw(1)
    await bench.until(lambda: len(bench.ends()) == 2)
    assert bench.ends() == {0: Ending.FAILED, 1: Ending.FAILED}
    texts = [event.text for event in bench.events if isinstance(event, PictureEnded)]
    assert all(text and "device" not in text for text in texts), "the log says it, not the wire"
    bench.submit(2, 3, 4)
    bench.draw()
    await bench.until(lambda: len(bench.ends()) == 5)
    assert {bench.ends()[picture] for picture in (2, 3, 4)} == {Ending.DRAWN}


@pytest.mark.parametrize("fault", [ValueError("a shape"), MemoryError()])
async def test_a_picture_that_the_engine_does_not_take_fails_alone(
    bench: Bench, fault: Exception
) -> None:
    bench.engine.refuses = fault
    bench.submit(0, 1, 2)
    bench.draw()
    await bench.until(lambda: len(bench.ends()) == 3)
    assert bench.ends() == {0: Ending.FAILED, 1: Ending.DRAWN, 2: Ending.DRAWN}
    bench.submit(3, 4, 5)


async def test_a_cancel_that_fails_loses_no_other_command(bench: Bench) -> None:
    bench.submit(0)
    bench.draw(1)
    await bench.until(lambda: bool(bench.events))
    bench.engine.cannot_cancel = RuntimeError("a slot was lost")
    bench.bridge.cancel(0)
    bench.submit(1, 2)
    bench.draw(5)
    await bench.until(lambda: len(bench.ends()) == 3)
    assert bench.ends() == {0: Ending.FAILED, 1: Ending.DRAWN, 2: Ending.DRAWN}


async def test_closing_stops_the_thread_in_the_middle_of_a_picture() -> None:
    bench = Bench()
    bench.bridge.start(bench.deliver)
    bench.submit(0)
    bench.draw(1)
    await bench.until(lambda: bool(bench.events))
    bench.draw(1)
    await bench.bridge.close()
    assert not thread_of(bench).is_alive()
    bench.submit(1)
    bench.bridge.cancel(0)
    await bench.bridge.close()


async def test_a_bridge_that_was_never_started_can_be_closed() -> None:
    bench = Bench()
    bench.submit(0)
    await bench.bridge.close()


def test_an_engine_outlives_its_loop_without_a_word() -> None:
    """The loop closes while the engine is drawing: its thread ends, and nothing is printed."""

    async def draw_and_leave() -> Bench:
        bench = Bench()
        bench.bridge.start(bench.deliver)
        bench.submit(0)
        return bench

    bench = asyncio.run(draw_and_leave())
    bench.draw(100)
    thread_of(bench).join(10)
    assert not thread_of(bench).is_alive()


async def test_an_engine_that_gives_way_steps_on_when_what_it_drew_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bridge, "GIVE_WAY_SECONDS", 10.0)
    sent = 0
    sent_before_step = []
    news = asyncio.Event()

    async def writer() -> None:
        nonlocal sent
        while True:
            await news.wait()
            news.clear()
            sent += 1

    class Watched(FakeEngine):
        def step(self) -> list[EngineEvent]:
            sent_before_step.append(sent)
            return super().step()

    engine = Watched()
    ended = asyncio.Event()

    def deliver(events: list[EngineEvent]) -> None:
        news.set()
        if any(isinstance(event, PictureEnded) for event in events):
            ended.set()

    owner = EngineBridge(cast(Engine, engine), slots=3, places=0, gives_way=True)
    writing = asyncio.create_task(writer())
    engine.may_step.release(4)
    owner.start(deliver)
    owner.submit(0, REQUEST, "client")
    async with asyncio.timeout(10):
        await ended.wait()
    assert sent_before_step == [0, 1, 2, 3]
    writing.cancel()
    await owner.close()


async def test_a_loop_that_is_busy_does_not_hold_up_an_engine_that_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bridge, "GIVE_WAY_SECONDS", 0.001)
    drawn = threading.Event()

    class Watched(FakeEngine):
        def step(self) -> list[EngineEvent]:
            events = super().step()
            if self.idle:
                drawn.set()
            return events

    engine = Watched()
    owner = EngineBridge(cast(Engine, engine), slots=3, places=0, gives_way=True)
    engine.may_step.release(4)
    owner.start(lambda events: None)
    owner.submit(0, REQUEST, "client")
    assert drawn.wait(10), "waited for, by the loop's own thread"
    await owner.close()
