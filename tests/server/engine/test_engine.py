"""The engine with a fake runner: joining, leaving, cancelling, continuing, failing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import (
    Ending,
    EngineEvent,
    PictureEnded,
    PicturePlaced,
    PictureRequest,
    RowDrawn,
)
from rowcast_server.engine.runner import NOT_DRAWN, DrawnRow, PendingRow
from rowcast_server.network.facts import Grid, Sampling

GRID = Grid(rows=3, cols=2, codebook_size=50, start_token=50)
SAMPLING = Sampling(temperature=1.0, top_k=0, top_p=1.0, guidance=1.0)


class FakeRunner:
    """Ids that depend on the slot's text, the seed and every token it was ever fed, in order.

    Keeps what a real runner keeps in its cache, so a slot that is mixed up shows in the ids.
    """

    def __init__(self, slots: int = 2) -> None:
        self.grid = GRID
        self.slots = slots
        self.history: list[tuple[int, ...]] = [()] * slots
        self.broken = False

        self.requests: list[PictureRequest | None] = [None] * slots
        self.drawn = np.full((slots, GRID.tokens + 1), GRID.start_token, np.int64)

    def open(self, slot: int, request: PictureRequest) -> None:
        self.history[slot] = request.text_ids
        self.requests[slot] = request
        if request.prefix is not None:
            self.drawn[slot, 1 : 1 + request.prefix.size] = request.prefix.reshape(-1)

    def step(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        for slot, position in enumerate(positions.tolist()):
            self._feed(slot, position)
            request = self.requests[slot]
            assert request is not None
            if position >= request.prefix_rows * GRID.cols:
                random = np.random.default_rng([*self.history[slot], request.seed])
                id_drawn = NOT_DRAWN if self.broken else int(random.integers(GRID.codebook_size))
                self.drawn[slot, position + 1] = id_drawn
        return np.ones(len(positions), np.int64)

    def row(self, slot: int, row: int) -> PendingRow:
        first = 1 + row * GRID.cols
        return DrawnRow(self.drawn[slot, first : first + GRID.cols].copy())

    def fill(self, slot: int, first: int, count: int) -> None:
        for position in range(first, first + count):
            self._feed(slot, position)

    def _feed(self, slot: int, position: int) -> None:
        token = max(int(self.drawn[slot, position]), 0)
        self.history[slot] = (*self.history[slot], token, position)

    def move(self, source: int, destination: int) -> None:
        self.history[destination] = self.history[source]
        self.requests[destination] = self.requests[source]
        self.drawn[destination] = self.drawn[source]


def request(text: int = 1, seed: int = 0, stop_row: int = 3, **changes: object) -> PictureRequest:
    return PictureRequest((text,), seed, 0, SAMPLING, stop_row, **changes)  # type: ignore[arg-type]


def run(engine: Engine) -> list[EngineEvent]:
    events: list[EngineEvent] = []
    for _ in range(1_000):
        if engine.idle:
            return events
        events += engine.step()
    raise AssertionError("the engine never became idle")


def rows_of(events: list[EngineEvent], picture: int) -> NDArray[np.int64]:
    drawn = [e for e in events if isinstance(e, RowDrawn) and e.picture == picture]
    return np.stack([event.ids for event in drawn])


def test_rows_come_in_order_and_then_the_end() -> None:
    engine = Engine(FakeRunner())
    engine.submit(7, request())
    events = run(engine)
    assert [type(event) for event in events] == [PicturePlaced, *[RowDrawn] * 3, PictureEnded]
    assert [event.row for event in events if isinstance(event, RowDrawn)] == [0, 1, 2]
    assert events[-1] == PictureEnded(7, Ending.DRAWN)


def test_a_row_is_told_in_the_step_that_samples_its_last_token() -> None:
    engine = Engine(FakeRunner())
    engine.submit(0, request())
    told = [[type(event).__name__ for event in engine.step()] for _ in range(4)]
    assert told == [["PicturePlaced"], ["RowDrawn"], [], ["RowDrawn"]]


def test_stop_row_ends_early_with_the_same_first_rows() -> None:
    engine = Engine(FakeRunner())
    engine.submit(0, request())
    whole = rows_of(run(engine), 0)
    engine.submit(1, request(stop_row=2))
    assert (rows_of(run(engine), 1) == whole[:2]).all()


@pytest.mark.parametrize("rows", [1, 2])
def test_a_picture_continued_from_its_own_rows_is_the_same_picture(rows: int) -> None:
    engine = Engine(FakeRunner())
    engine.submit(0, request())
    whole = rows_of(run(engine), 0)
    engine.submit(1, request(prefix=whole[:rows]))
    assert (rows_of(run(engine), 1) == whole[rows:]).all()


def test_ids_do_not_depend_on_company() -> None:
    alone = []
    for number in range(6):
        engine = Engine(FakeRunner(slots=3))
        engine.submit(0, request(text=number, seed=number))
        alone.append(rows_of(run(engine), 0))
    choose = np.random.default_rng(0)
    for _ in range(50):
        engine = Engine(FakeRunner(slots=3))
        starts = {number: int(choose.integers(0, 12)) for number in range(6)}
        extra = int(choose.integers(0, 8))
        events: list[EngineEvent] = []
        for step in range(60):
            for number, start in starts.items():
                if start == step:
                    engine.submit(number, request(text=number, seed=number), client=number % 2)
            if step == extra:
                engine.submit(99, request(text=99))
            if step == extra + 3:
                events += engine.cancel(99)
            events += engine.step()
        for number in range(6):
            assert (rows_of(events, number) == alone[number]).all()


def test_waiting_pictures_hear_their_place_when_it_changes() -> None:
    engine = Engine(FakeRunner(slots=1))
    for number in range(3):
        engine.submit(number, request())
    events = run(engine)
    places = [(e.picture, e.place) for e in events if isinstance(e, PicturePlaced)]
    assert places == [(0, 0), (1, 1), (2, 2), (1, 0), (2, 1), (2, 0)]


def test_cancel_frees_the_slot_at_once_running_or_waiting() -> None:
    engine = Engine(FakeRunner(slots=1))
    for number in range(3):
        engine.submit(number, request())
    engine.step()
    assert engine.cancel(0) == [PictureEnded(0, Ending.CANCELLED)]
    assert engine.cancel(1) == [PictureEnded(1, Ending.CANCELLED)]
    assert engine.cancel(0) == []
    assert {event.picture for event in run(engine)} == {2}


def test_broken_logits_fail_the_picture_and_not_the_engine() -> None:
    runner = FakeRunner()
    engine = Engine(runner)
    engine.submit(0, request())
    runner.broken = True
    ended = run(engine)[-1]
    assert isinstance(ended, PictureEnded)
    assert ended.ending is Ending.FAILED
    assert "not finite" in ended.text
    runner.broken = False
    engine.submit(1, request())
    assert rows_of(run(engine), 1).shape == (3, 2)


def test_fail_all_ends_every_picture_once() -> None:
    engine = Engine(FakeRunner(slots=1))
    for number in range(3):
        engine.submit(number, request())
    engine.step()
    assert engine.fail_all("the machine broke") == [
        PictureEnded(number, Ending.FAILED, "the machine broke") for number in range(3)
    ]
    assert engine.idle


def test_a_prefix_is_fed_at_once_one_picture_a_step() -> None:
    """So that those who are drawing wait for no more than one window a step."""
    runner = FakeRunner(slots=3)
    windows: list[tuple[int, int, int]] = []
    fill = runner.fill

    def watched(slot: int, first: int, count: int) -> None:
        windows.append((slot, count, first))
        fill(slot, first, count)

    runner.fill = watched  # type: ignore[method-assign]
    engine = Engine(runner)
    given = np.array([[3, 4], [5, 6]])
    for picture in (0, 1):
        engine.submit(picture, request(text=picture, prefix=given))
    engine.submit(2, request(text=2))
    engine.step()
    assert windows == [(0, 4, 0)]
    engine.step()
    assert windows[1:] == [(1, 3, 1)]  # its first token was taken by the step before
    run(engine)
    assert len(windows) == 2
