"""From notices to events: what is painted at once, what is decoded beside it, and how seldom."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from rowcast.errors import ConnectionLost, DetokenizerError, ProtocolError
from rowcast.events import (
    Event,
    PictureAccepted,
    PictureDone,
    PictureQueued,
    PictureRepainted,
    RowsArrived,
)
from rowcast.messages import DoneReason, Queued, Welcome, encode
from rowcast.pixels.palette import PAPER
from rowcast.requests import Request
from rowcast.session import ClientSession

from tests.support.easels import SIDE, PlainDecoder, Table, colours, plain_loader, plain_tier
from tests.support.fake_server import LIMITS, MODEL, accepted, done, ids_until, rows

PALETTE, PREVIEW, FULL = (1, 1, 1), (2, 2, 2), (4, 4, 4)


def palette() -> PlainDecoder:
    return PlainDecoder(PALETTE)


def preview() -> PlainDecoder:
    return PlainDecoder(PREVIEW)


def full() -> PlainDecoder:
    return PlainDecoder(FULL)


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


# Without a palette: rows are told once they are decoded


def test_every_notice_becomes_its_event() -> None:
    table = Table(plain_loader(full=full()))
    table.receive(accepted(position=1), encode(Queued(0, 0)), rows(0, 4), done())
    place, queued, drawn, end = table.settle()
    assert isinstance(place, PictureAccepted)
    assert isinstance(queued, PictureQueued)
    assert isinstance(drawn, RowsArrived)
    assert isinstance(end, PictureDone)
    assert (queued.position, drawn.first_row, end.reason) == (0, 0, DoneReason.COMPLETE)
    assert drawn.rows.astype("<u2").tobytes() == ids_until(4)
    assert {event.seed for event in (place, queued, drawn, end)} == {7}
    assert table.easel.ended


def test_before_its_first_row_there_is_no_image() -> None:
    table = Table(plain_loader(palette=palette(), full=full()))
    table.receive(accepted())
    (event,) = table.settle()
    assert (event.image, event.tier) == (None, None)


def test_rows_are_told_once_they_are_decoded_with_paper_below() -> None:
    table = Table(plain_loader(full=full()))
    table.receive(accepted())
    table.told()
    table.receive(rows(0, 3))
    assert table.told() == []
    (drawn,) = table.settle()
    assert isinstance(drawn, RowsArrived)
    assert colours(drawn) == [FULL, FULL, FULL, PAPER]
    assert drawn.tier == "full"


def test_rows_that_came_meanwhile_are_told_as_one() -> None:
    tier = full()
    table = Table(plain_loader(full=tier))
    table.receive(accepted())
    table.told()
    table.receive(rows(0))
    table.told()
    decode = table.easel.next_decode()
    assert decode is not None
    table.receive(rows(1), rows(2))
    decode()
    first, second = table.settle()
    assert isinstance(first, RowsArrived)
    assert isinstance(second, RowsArrived)
    assert (len(first.rows), len(second.rows)) == (1, 2)
    assert tier.painted == [3]  # the newest state, once, before it was told


def test_the_same_rows_are_not_decoded_twice() -> None:
    tier = full()
    table = Table(plain_loader(full=tier))
    table.receive(accepted(), rows(0, 4), done())
    _, drawn, end = table.settle()
    assert drawn.image is end.image
    assert tier.painted == [4]


def test_what_a_forked_picture_keeps_is_seen_at_once() -> None:
    whole, table_of_colours = full(), palette()
    for decoder, loader in (
        (whole, plain_loader(full=whole)),
        (table_of_colours, plain_loader(palette=table_of_colours)),
    ):
        table = Table(loader)
        table.generation.request = Request("a red boat", prefix=ids_until(2))
        table.receive(accepted(first_row=2))
        (place,) = table.settle()
        assert isinstance(place, PictureAccepted)
        assert colours(place)[1:3] == [decoder.colour, PAPER]


def test_without_a_loader_events_carry_ids_alone() -> None:
    table = Table(None)
    table.receive(accepted(), rows(0, 4), done())
    assert [(event.image, event.tier) for event in table.settle()] == [(None, None)] * 3


# With a palette: rows are told at once, and painted over


def test_a_row_is_told_at_once_by_the_palette_without_a_decode() -> None:
    tier = full()
    table = Table(plain_loader(palette=palette(), full=tier))
    table.receive(accepted(), rows(0, 2))
    _, drawn = table.told()
    assert isinstance(drawn, RowsArrived)
    assert colours(drawn) == [PALETTE, PALETTE, PAPER, PAPER]
    assert drawn.tier == "palette"
    assert tier.painted == []


def test_what_is_decoded_beside_it_paints_over_it_but_not_over_rows_that_came_since() -> None:
    table = Table(plain_loader(palette=palette(), full=full()))
    table.receive(accepted(), rows(0, 2))
    table.told()
    decode = table.easel.next_decode()
    assert decode is not None
    decode()
    assert table.woken == 1
    table.receive(rows(2))
    repainted, drawn = table.told()
    assert isinstance(repainted, PictureRepainted)
    assert colours(repainted) == [FULL, FULL, PAPER, PAPER]
    assert repainted.tier == "full"
    assert isinstance(drawn, RowsArrived)
    assert colours(drawn) == [FULL, FULL, PALETTE, PAPER]
    assert drawn.tier == "palette"


def test_the_end_is_told_when_the_picture_is_painted_for_good() -> None:
    table = Table(plain_loader(palette=palette(), full=full()))
    table.receive(accepted(), rows(0, 4), done())
    assert kinds(table.told()) == ["PictureAccepted", "RowsArrived"]
    *_, end = table.settle()
    assert isinstance(end, PictureDone)
    assert colours(end) == [FULL] * 4
    assert end.tier == "full"


def test_a_picture_stopped_early_is_painted_for_good_too() -> None:
    table = Table(plain_loader(palette=palette(), preview=preview(), full=full()))
    table.receive(accepted(), rows(0, 2), done(2, reason=DoneReason.STOP_ROW))
    *_, end = table.settle()
    assert isinstance(end, PictureDone)
    assert colours(end) == [FULL, FULL, PAPER, PAPER]


def test_a_picture_without_rows_ends_without_an_image() -> None:
    table = Table(plain_loader(palette=palette()))
    table.receive(accepted(), done(0, reason=DoneReason.CANCELLED))
    *_, end = table.settle()
    assert isinstance(end, PictureDone)
    assert end.image is None


def test_the_end_waits_for_the_file_while_other_pictures_go_on() -> None:
    loader = plain_loader(palette=palette())
    table = Table(loader, images=2)
    table.receive(accepted(0), accepted(1), rows(0, 4), done(), rows(0, stream=1))
    assert not any(isinstance(event, PictureDone) for event in table.settle())
    table.receive(rows(1, stream=1))
    (drawn,) = table.settle()
    assert isinstance(drawn, RowsArrived)
    assert drawn.index == 1
    woken = table.woken
    loader.add(plain_tier("full", full()))
    assert table.woken == woken + 1
    events = table.settle()
    assert [(type(event), event.index) for event in events] == [
        (PictureDone, 0),
        (PictureRepainted, 1),
    ]
    assert colours(events[0]) == [FULL] * 4
    assert colours(events[1]) == [FULL, FULL, PAPER, PAPER]


def test_quality_palette_is_the_palette_for_good() -> None:
    table = Table(plain_loader(palette=palette(), last="palette"))
    table.receive(accepted(), rows(0, 4), done())
    _, drawn, end = table.told()
    assert isinstance(end, PictureDone)
    assert colours(end) == [PALETTE] * 4
    assert drawn.image is end.image
    assert table.easel.next_decode() is None


def test_quality_preview_ends_with_the_preview() -> None:
    table = Table(plain_loader(palette=palette(), preview=preview(), last="preview"))
    table.receive(accepted(), rows(0, 4), done())
    *_, end = table.settle()
    assert colours(end) == [PREVIEW] * 4


def test_a_tier_that_comes_later_repaints_what_is_there() -> None:
    loader = plain_loader(palette=palette())
    table = Table(loader)
    table.receive(accepted(), rows(0, 2))
    table.settle()
    seen = []
    for name, decoder in (("preview", preview()), ("full", full())):
        loader.add(plain_tier(name, decoder))
        events = table.settle()
        seen += [colours(event)[0] for event in events]
    # While it forms the preview is nearer to the final picture than the full decoder.
    assert seen == [PREVIEW]


def test_the_full_tier_is_used_once_where_another_paints_what_forms() -> None:
    steps, whole = preview(), full()
    table = Table(plain_loader(palette=palette(), preview=steps, full=whole))
    table.receive(accepted())
    for row in range(4):
        table.receive(rows(row))
        table.settle()
    table.receive(done())
    *_, end = table.settle()
    assert steps.painted == [1, 2, 3]
    assert whole.painted == [4]
    assert colours(end) == [FULL] * 4


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


# Mosaics


def test_a_mosaic_is_told_at_once_and_ends_decoded_as_a_whole() -> None:
    whole = full()
    table = Table(plain_loader(palette=palette(), full=whole), images=4, seamless=True)
    table.receive(*(accepted(n) for n in range(4)), rows(0, stream=3))
    *_, drawn = table.told()
    pixels = np.asarray(drawn.image)
    assert pixels.shape == (8 * SIDE, 8 * SIDE, 3)
    corner = pixels[4 * SIDE : 5 * SIDE, 4 * SIDE :]
    assert (corner == PALETTE).all()
    assert ((pixels == PALETTE).all(2) | (pixels == PAPER).all(2)).all()
    table.receive(rows(0, 4, 0), done(stream=0))
    events = table.settle()
    assert isinstance(events[0], PictureRepainted | RowsArrived)
    assert any(isinstance(event, PictureDone) for event in events)
    for stream in (1, 2):
        table.receive(rows(0, 4, stream), done(stream=stream))
    table.receive(rows(1, 3, 3), done(stream=3))
    *_, end = table.settle()
    assert isinstance(end, PictureDone)
    assert (np.asarray(end.image) == FULL).all()
    assert all(event.seamless for event in events)


def test_rows_that_come_while_a_mosaic_is_decoded_stay_in_it() -> None:
    table = Table(plain_loader(palette=palette(), full=full()), images=2, seamless=True)
    table.receive(accepted(0), accepted(1), rows(0), rows(0, stream=1))
    table.told()
    decode = table.easel.next_decode()
    assert decode is not None
    decode()
    table.receive(rows(1, 2, 1))
    *_, drawn = table.told()
    pixels = np.asarray(drawn.image)
    assert (pixels[:SIDE] == FULL).all()
    assert (pixels[SIDE : 3 * SIDE, 4 * SIDE :] == PALETTE).all()
    assert (pixels[SIDE:, : 4 * SIDE] == PAPER).all()


def test_a_mosaic_says_that_the_palette_painted_it_before_anything_else_has() -> None:
    table = Table(plain_loader(palette=palette()), images=2, seamless=True)
    table.receive(accepted(0), accepted(1), rows(0, 1, 0), rows(0, 1, 1))
    drawn = [event for event in table.told() if isinstance(event, RowsArrived)]
    assert {event.tier for event in drawn} == {"palette"}
    assert all(event.image is not None for event in drawn)
