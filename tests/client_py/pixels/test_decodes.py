"""The easel's decodes: how few, in which order, and what happens when they fail."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from rowcast.errors import ConnectionLost, DetokenizerError, ProtocolError
from rowcast.events import (
    PictureDone,
    RowsArrived,
)
from rowcast.messages import Welcome, encode
from rowcast.pixels.palette import PAPER
from rowcast.requests import Request
from rowcast.session import ClientSession

from tests.support.client.easels import (
    FULL,
    PREVIEW,
    PlainDecoder,
    Table,
    colours,
    full,
    kinds,
    palette,
    plain_loader,
)
from tests.support.fake_server import LIMITS, MODEL, accepted, done, rows

# One decode at a time, of the newest state


def test_one_decode_is_in_flight_and_the_next_is_of_the_newest_state() -> None:
    tier = full()
    table = Table(plain_loader(palette=palette(), full=tier), images=2)
    table.receive(accepted(0), accepted(1), rows(0), rows(0, stream=1))
    table.told()
    first = table.easel.next_decode()
    assert first is not None
    assert table.easel.next_decode() is None
    for row in (1, 2, 3):
        table.receive(rows(row, stream=1))
        table.told()
        assert table.easel.next_decode() is None
    first()
    assert table.easel.next_decode() is None  # until its pixels are taken
    table.settle()
    assert tier.painted == [1, 4]  # picture 0, then picture 1 in its newest state


def test_pictures_take_turns() -> None:
    tier = full()
    table = Table(plain_loader(palette=palette(), full=tier), images=3)
    table.receive(*(accepted(n) for n in range(3)), *(rows(0, 1 + n, n) for n in range(3)))
    table.told()
    for _ in range(3):
        decode = table.easel.next_decode()
        assert decode is not None
        decode()
        table.told()
        table.receive(*([rows(1)] if len(tier.painted) == 1 else []))
    assert tier.painted == [1, 2, 3]  # though picture 0 had a new row


def test_a_viewer_of_three_updates_a_second_never_lags_more_than_one_decode() -> None:
    """Rows every 80 ms, decodes of 333: simulated, so that it is the same on any machine."""
    period, decode_ms = 80, 333
    for images in (1, 4):
        tier = full()
        table = Table(plain_loader(palette=palette(), full=tier), images=images)
        table.receive(*(accepted(n) for n in range(images)))
        table.told()
        running, ends_at, shown, lag = None, 0, 0, 0
        arrived: list[int] = []  # when each row of picture 0 came
        for now in range(0, period * 5 + images * decode_ms * 3):
            if now % period == 0 and now // period < 4:
                table.receive(*(rows(now // period, 1, n) for n in range(images)))
                arrived.append(now)
            if running is not None and now >= ends_at:
                running()
                running = None
            for event in table.told():
                if event.index == 0 and event.image is not None:
                    shown = colours(event).count(FULL)
            decode = table.easel.next_decode()
            if decode is not None:
                assert running is None  # one in flight
                running, ends_at = decode, now + decode_ms
            if shown < len(arrived):
                lag = max(lag, now - arrived[shown])
        assert shown == 4
        # The decode that runs when a row comes, of each picture in turn, and then its own.
        assert lag <= 2 * images * decode_ms
        assert len(tier.painted) <= 3 * images


# What goes wrong


def test_a_file_that_failed_is_told_at_the_end_with_all_that_had_arrived() -> None:
    loader = plain_loader(palette=palette())
    table = Table(loader)
    table.receive(accepted(), rows(0, 4), done())
    assert kinds(table.settle()) == ["PictureAccepted", "RowsArrived"]
    loader._failure = DetokenizerError("the file is damaged")
    with pytest.raises(DetokenizerError, match="the file is damaged") as caught:
        table.settle()
    assert caught.value.pictures[0].rows_held == 4


class Broken(PlainDecoder):
    """One that has begun to fail."""

    def paint(self, grid: NDArray[np.integer], rows: int) -> NDArray[np.uint8]:
        raise DetokenizerError("cannot decode")


def test_a_decode_that_fails_is_told() -> None:
    table = Table(plain_loader(palette=palette(), full=Broken(FULL)))
    table.receive(accepted(), rows(0))
    with pytest.raises(DetokenizerError, match="cannot decode") as caught:
        table.settle()
    assert caught.value.pictures[0].rows_held == 1


def test_a_preview_that_fails_is_done_without_and_nothing_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loader = plain_loader(palette=palette(), preview=Broken(PREVIEW), full=full())
    table = Table(loader)
    table.receive(accepted(), rows(0, 2))
    _, drawn, repainted = table.settle()
    assert isinstance(drawn, RowsArrived)
    assert repainted.tier == "full"
    assert colours(repainted) == [FULL, FULL, PAPER, PAPER]
    assert [description.split()[0] for description in loader.descriptions] == ["palette", "full"]
    table.receive(rows(2, 2), done())
    *_, end = table.settle()
    assert isinstance(end, PictureDone)
    assert colours(end) == [FULL] * 4
    assert "cannot decode; going on without the preview" in caplog.text


def test_a_failure_is_told_after_the_ends_that_came_before_it() -> None:
    table = Table(plain_loader(palette=palette(), full=full()), images=2)
    table.receive(accepted(0), accepted(1), rows(0, 4), done())
    table.session.fail(ProtocolError("broken"))
    told = table.told()
    decode = table.easel.next_decode()
    assert decode is not None
    decode()
    end = table.easel.next_event()
    assert kinds(told) == ["PictureAccepted", "PictureAccepted", "RowsArrived"]
    assert isinstance(end, PictureDone)
    assert colours(end) == [FULL] * 4
    with pytest.raises(ProtocolError, match="broken"):
        table.easel.next_event()


@pytest.mark.parametrize("has_palette", [True, False])
def test_nobody_waits_for_pixels_once_the_client_is_closed(has_palette: bool) -> None:
    loader = plain_loader(palette=palette()) if has_palette else plain_loader()
    table = Table(loader)
    table.receive(accepted(), rows(0, 4), done())
    table.settle()
    loader.stop()
    assert table.woken > 0
    table.session.close()
    with pytest.raises(ConnectionLost, match="closed before the picture was painted") as caught:
        table.settle()
    assert caught.value.pictures[0].complete
    assert table.easel.next_decode() is None


def test_another_models_pictures_are_not_painted_in_the_wrong_colours() -> None:
    table = Table(plain_loader(palette=palette(), full=full()))
    table.session = ClientSession()
    table.session.hello()
    other = replace(MODEL, name="other")
    table.session.receive(encode(Welcome(LIMITS, [MODEL, other])))
    table.generation, _ = table.session.start(Request("a red boat", model="other"))
    table.easel = type(table.easel)(table.generation, table.easel._loader, False, lambda: None)
    table.receive(accepted(model="other"), rows(0))
    with pytest.raises(DetokenizerError, match="paints pictures of tiny, not of other"):
        table.settle()


def test_pictures_that_are_gone_are_forgotten() -> None:
    table = Table(plain_loader(palette=palette(), full=full()), images=2)
    for stream in (0, 1):
        table.receive(accepted(stream), rows(0, 4, stream), done(stream=stream))
    table.settle()
    assert table.easel._canvases == {}
