"""From notices to events: what is painted, what is not painted twice, and when nothing is."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from rowcast.artifacts import cached_path
from rowcast.canvas import Picture
from rowcast.detokenizer import PAPER
from rowcast.errors import DetokenizerError
from rowcast.events import PictureAccepted, PictureDone, PictureQueued, RowsArrived
from rowcast.generation import Generation
from rowcast.messages import DetokenizerFile, DoneReason, Queued, Welcome, encode
from rowcast.painter import Painter, make_event
from rowcast.requests import Request
from rowcast.session import ClientSession

from tests.support.fake_server import LIMITS, MODEL, accepted, done, ids_until, rows, welcome
from tests.support.tiny_model import tiny_detokenizer


@pytest.fixture
def painter(tmp_path: Path, own_cache: Path) -> Painter:
    """A painter whose detokenizer lies in the cache already."""
    content = tiny_detokenizer(tmp_path / "tiny.onnx", MODEL.codebook_size).read_bytes()
    file = DetokenizerFile(
        "full", "fp32", len(content), hashlib.sha256(content).digest(), "http://127.0.0.1:1/"
    )
    own_cache.mkdir()
    cached_path(file.sha256).write_bytes(content)
    made = Painter("ws://127.0.0.1:1", None, (), None, 1)
    made.load(replace(MODEL, files=[file]))
    return made


@pytest.fixture
def session() -> ClientSession:
    session = ClientSession()
    session.hello()
    session.receive(welcome())
    return session


def events(generation: Generation, painter: Painter | None) -> Iterator[object]:
    while (notice := generation.take()) is not None:
        yield make_event(notice, painter)


def test_every_notice_becomes_its_event(session: ClientSession, painter: Painter) -> None:
    generation, _ = session.start(Request("a red boat"))
    for frame in (accepted(position=1), encode(Queued(0, 0)), rows(0, 4), done()):
        session.receive(frame)
    place, queued, drawn, end = events(generation, painter)
    assert isinstance(place, PictureAccepted)
    assert isinstance(queued, PictureQueued)
    assert isinstance(drawn, RowsArrived)
    assert isinstance(end, PictureDone)
    assert (queued.position, drawn.first_row, end.reason) == (0, 0, DoneReason.COMPLETE)
    assert drawn.rows.astype("<u2").tobytes() == ids_until(4)
    assert {event.seed for event in (place, queued, drawn, end)} == {7}


def test_before_its_first_row_there_is_no_image(session: ClientSession, painter: Painter) -> None:
    generation, _ = session.start(Request("a red boat"))
    session.receive(accepted())
    (event,) = events(generation, painter)
    assert isinstance(event, PictureAccepted)
    assert event.image is None


def test_the_image_shows_the_rows_and_paper_below(session: ClientSession, painter: Painter) -> None:
    generation, _ = session.start(Request("a red boat"))
    session.receive(accepted())
    session.receive(rows(0, 3))
    *_, event = events(generation, painter)
    assert isinstance(event, RowsArrived)
    assert painter.detokenizer is not None
    pixels = np.asarray(event.image)
    grid = np.frombuffer(ids_until(3), "<u2").reshape(1, 3, 4)
    assert np.array_equal(pixels[:12], painter.detokenizer.decode(grid)[0])
    assert (pixels[12:] == PAPER).all()


def test_what_a_forked_picture_keeps_is_seen_at_once(
    session: ClientSession, painter: Painter
) -> None:
    generation, _ = session.start(Request("a red boat", prefix=ids_until(2)))
    session.receive(accepted(first_row=2))
    session.receive(rows(2, 2))
    place, drawn = events(generation, painter)
    assert isinstance(place, PictureAccepted)
    assert isinstance(drawn, RowsArrived)
    assert place.image is not None
    assert (drawn.first_row, len(drawn.rows)) == (2, 2)


def test_the_same_rows_are_not_decoded_twice(session: ClientSession, painter: Painter) -> None:
    generation, _ = session.start(Request("a red boat"))
    for frame in (accepted(), rows(0, 4), done()):
        session.receive(frame)
    _, drawn, end = events(generation, painter)
    assert isinstance(drawn, RowsArrived)
    assert isinstance(end, PictureDone)
    assert drawn.image is end.image


def test_pictures_that_are_gone_are_forgotten(session: ClientSession, painter: Painter) -> None:
    generation, _ = session.start(Request("a red boat"))
    for frame in (accepted(), rows(0, 4), done()):
        session.receive(frame)
    for event in events(generation, painter):
        assert isinstance(event, PictureAccepted | RowsArrived | PictureDone)
    assert len(painter._painted) == 1
    del generation, event
    gc.collect()
    assert len(painter._painted) == 0


def test_without_a_painter_events_carry_ids_alone(session: ClientSession) -> None:
    generation, _ = session.start(Request("a red boat"))
    for frame in (accepted(), rows(0, 4), done()):
        session.receive(frame)
    seen = list(events(generation, None))
    assert [getattr(event, "image", "none") for event in seen] == [None] * 3


def test_a_server_without_a_detokenizer(tmp_path: Path) -> None:
    with pytest.raises(DetokenizerError, match="offers no full fp32 detokenizer"):
        Painter("ws://127.0.0.1:1", None, (), None, 1).load(MODEL)


def test_another_models_pictures_are_not_painted_in_the_wrong_colours(painter: Painter) -> None:
    other = replace(MODEL, name="other")
    session = ClientSession()
    session.hello()
    session.receive(encode(Welcome(LIMITS, [MODEL, other])))
    generation, _ = session.start(Request("a red boat", model="other"))
    session.receive(accepted(model="other"))
    session.receive(rows(0))
    with pytest.raises(DetokenizerError, match="paints pictures of tiny, not of other"):
        list(events(generation, painter))


def test_ids_that_the_detokenizer_does_not_know(painter: Painter) -> None:
    """A detokenizer of a smaller codebook than the model's: told, not painted wrong."""
    assert painter.detokenizer is not None
    generation_grid = np.full((1, 4), MODEL.codebook_size)
    session = ClientSession()
    session.hello()
    session.receive(welcome(replace(MODEL, codebook_size=200)))
    generation, _ = session.start(Request("a red boat"))
    session.receive(accepted())
    picture: Picture = generation.pictures[0]
    picture.add_rows(0, generation_grid.astype("<u2").tobytes())
    with pytest.raises(DetokenizerError, match="outside the codebook of 96"):
        painter.paint(picture, picture.grid)
