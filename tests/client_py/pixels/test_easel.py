"""From a request's events to those with images: what is painted at once, and painted over."""

from __future__ import annotations

import numpy as np
import pytest
from rowcast.errors import RequestRefused
from rowcast.events import (
    PictureAccepted,
    PictureDone,
    PictureFailed,
    PictureQueued,
    PictureRepainted,
    RowsArrived,
)
from rowcast.messages import DoneReason, Error, Queued, encode
from rowcast.pixels.palette import PAPER
from rowcast.requests import Request

from tests.support.client.easels import (
    FULL,
    PALETTE,
    PREVIEW,
    SIDE,
    Table,
    colours,
    full,
    kinds,
    palette,
    plain_loader,
    plain_tier,
    preview,
)
from tests.support.fake_server import accepted, done, ids_until, rows

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
    loader = plain_loader(palette=palette(), preview=preview(), full=full())
    table = Table(loader, stop_row=2)
    table.receive(accepted(), rows(0, 2), done(2, reason=DoneReason.STOP_ROW))
    *_, end = table.settle()
    assert isinstance(end, PictureDone)
    assert colours(end) == [FULL, FULL, PAPER, PAPER]


def test_a_picture_that_fails_ends_with_what_it_holds_while_the_other_is_finished() -> None:
    table = Table(plain_loader(palette=palette(), full=full()), images=2)
    failed = encode(Error(0, "internal", 0, "broken"))
    table.receive(accepted(0), accepted(1), rows(0, 2), failed, rows(0, stream=1))
    (told,) = (event for event in table.settle() if isinstance(event, PictureFailed))
    assert (told.index, told.picture.rows_held, told.tier) == (0, 2, "full")
    assert colours(told) == [FULL, FULL, PAPER, PAPER]
    table.receive(rows(1, 3, stream=1))
    assert {event.index for event in table.settle()} == {1}
    table.receive(done(stream=1))
    end = table.easel.next_event()
    assert isinstance(end, PictureDone)
    assert colours(end) == [FULL] * 4
    with pytest.raises(RequestRefused, match="picture 0: broken"):
        table.easel.next_event()


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


def test_a_mosaic_that_the_preview_has_painted_whole_is_painted_anew_by_the_full_tier() -> None:
    loader = plain_loader(palette=palette(), preview=preview())
    table = Table(loader, images=2, seamless=True)
    table.receive(accepted(0), accepted(1), rows(0, 4), rows(0, 4, 1))
    *_, drawn = table.settle()
    assert (np.asarray(drawn.image) == PREVIEW).all()
    loader.add(plain_tier("full", full()))
    table.receive(done(stream=0), done(stream=1))
    *_, end = table.settle()
    assert isinstance(end, PictureDone)
    assert end.tier == "full"
    assert (np.asarray(end.image) == FULL).all()


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
