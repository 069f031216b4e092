"""Pictures joined without seams: how they are laid out, what is decoded together, what is seen."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rowcast
import rowcast_server
from numpy.typing import NDArray
from PIL import Image
from rowcast.errors import InvalidRequest
from rowcast.events import Event, PictureAccepted, PictureDone, RowsArrived
from rowcast.messages import view_key
from rowcast.picture import Picture, Recipe, Sampling
from rowcast.pixels.detokenizer import MEMORY_BUDGET_BYTES, PAPER, Detokenizer
from rowcast.pixels.mosaic import Mosaic
from rowcast_server.server import RowcastServer

from tests.support.fake_server import Peer, accepted, done, fake_server, rows, welcome
from tests.support.pace import paced_server
from tests.support.shells import SHELLS, Connect
from tests.support.tiny_model import PIXELS_PER_TOKEN, tiny_detokenizer

PROMPT = "a red boat"
CODES = 96
SIDE = PIXELS_PER_TOKEN
POSTCARD = Path(rowcast_server.__file__).parent / "models/postcard/detokenizer.onnx"


class RecordingDetokenizer(Detokenizer):
    """Each code a flat square of its own colour; remembers what it painted and decoded."""

    def __init__(self, path: Path) -> None:
        self.decoded: list[NDArray[np.integer]] = []
        self.painted: list[tuple[int, ...]] = []
        super().__init__(path)
        self.decoded.clear()  # the self-test

    def decode(
        self, ids: NDArray[np.integer], memory_bytes: int = MEMORY_BUDGET_BYTES
    ) -> NDArray[np.uint8]:
        self.decoded.append(ids[0])
        return super().decode(ids, memory_bytes)

    def paint(self, grid: NDArray[np.integer], rows: int) -> NDArray[np.uint8]:
        self.painted.append(grid.shape)
        return super().paint(grid, rows)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """[rows, cols] of what was painted since this was last asked."""
        shapes = [*self.painted]
        self.painted.clear()
        return shapes


@pytest.fixture
def flat(tmp_path: Path) -> RecordingDetokenizer:
    return RecordingDetokenizer(tiny_detokenizer(tmp_path / "tiny.onnx", CODES))


@pytest.fixture(scope="module")
def postcard() -> Detokenizer:
    return Detokenizer(POSTCARD)


def picture(ids: NDArray[np.integer], rows: int = 4) -> Picture:
    """A picture of ``rows`` rows of which those of ``ids`` [held, cols] have arrived."""
    sampling = Sampling(1.0, 64, 1.0, 4.0)
    made = Picture(Recipe("tiny", bytes(8), "x", 1, 0, sampling, rows, ids.shape[1], 2, None))
    grow(made, ids)
    return made


def grow(made: Picture, ids: NDArray[np.integer]) -> None:
    if len(ids):
        made.add_rows(made.rows_held, ids.astype("<u2").tobytes())


def grids(count: int, side: int = 4, codes: int = CODES, seed: int = 0) -> NDArray[np.integer]:
    """Random grids [count, side, side]; id 0, which fills what is not drawn, is none of theirs."""
    return np.random.default_rng(seed).integers(1, codes, (count, side, side))


def joined(each: NDArray[np.integer], columns: int) -> NDArray[np.integer]:
    """[count, rows, cols] -> one grid, row by row of pictures: the slow reference."""
    bands = [each[first : first + columns] for first in range(0, len(each), columns)]
    return np.concatenate([np.concatenate(list(band), axis=1) for band in bands])


def pixels(image: Image.Image | None) -> NDArray[np.uint8]:
    assert image is not None
    return np.asarray(image)


# Layout


@pytest.mark.parametrize(
    ("images", "rows", "columns"),
    [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 2), (6, 2, 3), (7, 1, 7), (9, 3, 3), (12, 3, 4)],
)
def test_pictures_are_laid_out_as_square_as_they_fill(images: int, rows: int, columns: int) -> None:
    mosaic = Mosaic(images)
    assert (mosaic.rows, mosaic.columns) == (rows, columns)


def test_columns_can_be_chosen(flat: RecordingDetokenizer) -> None:
    mosaic = Mosaic.of([picture(ids) for ids in grids(6)], columns=2)
    assert pixels(mosaic.paint(flat)).shape == (3 * 4 * SIDE, 2 * 4 * SIDE, 3)


@pytest.mark.parametrize(
    ("images", "columns", "fault"),
    [
        (5, 2, "5 pictures do not fill whole rows of 2; draw a multiple of 2, or .* divide 5"),
        (2, 4, "do not fill whole rows of 4"),
        (4, 0, "do not fill whole rows of 0"),
        (4, -2, "do not fill whole rows of -2"),
        (0, None, "at least one picture"),
    ],
)
def test_counts_that_make_no_rectangle(images: int, columns: int | None, fault: str) -> None:
    with pytest.raises(InvalidRequest, match=fault):
        Mosaic(images, columns)


def test_pictures_of_other_sizes_are_not_joined() -> None:
    with pytest.raises(InvalidRequest, match=r"picture 1 .* has 8 x 8 ids, picture 0 4 x 4"):
        Mosaic.of([picture(grids(1)[0]), picture(grids(1, 8)[0], rows=8)])


# The whole mosaic


@pytest.mark.parametrize("images", [1, 2, 3, 4, 6, 9])
def test_the_finished_mosaic_is_one_decode(flat: RecordingDetokenizer, images: int) -> None:
    each = grids(images)
    mosaic = Mosaic.of([picture(ids) for ids in each])
    painted = pixels(mosaic.paint(flat))
    assert flat.shapes == [(mosaic.rows * 4, mosaic.columns * 4)]
    assert [ids.shape for ids in flat.decoded] == [(mosaic.rows * 4, mosaic.columns * 4)]
    assert np.array_equal(painted, flat.decode(joined(each, mosaic.columns)[None])[0])


@pytest.mark.parametrize("images", [4, 6])
def test_postcards_mosaic_equals_a_decode_of_the_whole_grid(
    postcard: Detokenizer, images: int
) -> None:
    """Also when it was painted while it formed, ragged, from other rectangles."""
    each = grids(images, 16, postcard.codebook_size, seed=3)
    mosaic = Mosaic(images)
    pictures = [picture(ids[:0], rows=16) for ids in each]
    for index, made in enumerate(pictures):
        mosaic.place(index, made)
    for stop in ([0] * images, [5, 4, 0, 16, 2, 9][:images], [16] * images):
        for made, ids, row in zip(pictures, each, stop, strict=True):
            grow(made, ids[made.rows_held : row])
        painted = mosaic.paint(postcard)
    whole = joined(each, mosaic.columns)
    assert whole.shape == (32, 16 * images // 2)
    assert np.array_equal(pixels(painted), postcard.decode(whole[None])[0])


def test_postcards_pictures_join_where_pasted_ones_show_an_edge(postcard: Detokenizer) -> None:
    each = grids(4, 16, postcard.codebook_size, seed=4)
    whole = pixels(Mosaic.of([picture(ids, rows=16) for ids in each]).paint(postcard))
    middle = 16 * postcard.pixels_per_token

    def step(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> float:
        return float(np.abs(left[:, -1].astype(int) - right[:, 0]).mean())

    first, second = postcard.decode(each[:2])
    assert step(whole[:middle, :middle], whole[:middle, middle:]) < step(first, second) / 2


# While it forms


def test_before_the_first_row_there_is_no_mosaic(flat: RecordingDetokenizer) -> None:
    mosaic = Mosaic(4)
    assert mosaic.paint(flat) is None
    mosaic.place(2, picture(grids(1)[0, :0]))
    assert mosaic.paint(flat) is None
    assert flat.shapes == []


@pytest.mark.parametrize("seed", range(40))
def test_every_row_held_is_seen_and_the_rest_is_paper(
    flat: RecordingDetokenizer, seed: int
) -> None:
    """Pictures of any count that got as far as they got; some have not begun."""
    chance = np.random.default_rng(seed)
    images = int(chance.integers(1, 13))
    each, heights = grids(images, seed=seed), chance.integers(-1, 5, images)
    mosaic = Mosaic(images)
    colours = flat.decode(each.reshape(1, -1, 4))[0].reshape(images, 4 * SIDE, 4 * SIDE, 3)
    flat.decoded.clear()
    expected = np.full((mosaic.rows * 4 * SIDE, mosaic.columns * 4 * SIDE, 3), PAPER, np.uint8)
    for index, height in enumerate(heights):
        if height < 0:
            continue
        mosaic.place(index, picture(each[index, :height]))
        row, column = (number * 4 * SIDE for number in divmod(index, mosaic.columns))
        shown = colours[index, : height * SIDE]
        expected[row : row + height * SIDE, column : column + 4 * SIDE] = shown
    painted = mosaic.paint(flat)
    if heights.max() < 1:
        assert painted is None
    else:
        assert np.array_equal(pixels(painted), expected)
        assert all((ids != 0).all() for ids in flat.decoded)  # no filler reached the detokenizer


def test_what_all_pictures_of_a_row_hold_is_decoded_together(flat: RecordingDetokenizer) -> None:
    each = grids(4)
    heights = [3, 3, 1, 1]
    Mosaic.of([picture(ids[:row]) for ids, row in zip(each, heights, strict=True)]).paint(flat)
    assert flat.shapes == [(3, 8), (1, 8)]


def test_a_picture_that_is_ahead_shows_its_rows_below_the_common_ones(
    flat: RecordingDetokenizer,
) -> None:
    each = grids(3)
    heights = [2, 3, 3]
    Mosaic.of([picture(ids[:row]) for ids, row in zip(each, heights, strict=True)]).paint(flat)
    assert flat.shapes == [(2, 12), (3, 8)]


def test_a_finished_row_of_pictures_joins_the_one_that_forms_below(
    flat: RecordingDetokenizer,
) -> None:
    each = grids(4)
    heights = [4, 4, 2, 2]
    Mosaic.of([picture(ids[:row]) for ids, row in zip(each, heights, strict=True)]).paint(flat)
    assert flat.shapes == [(6, 8)]


def test_missing_rows_are_guessed_down_to_the_end_of_their_pictures(
    flat: RecordingDetokenizer,
) -> None:
    """Two rows of pictures: one is whole, one is missing three rows and two of its four."""
    each = grids(4)
    heights = [4, 4, 1, 2]
    Mosaic.of([picture(ids[:row]) for ids, row in zip(each, heights, strict=True)]).paint(flat)
    assert flat.shapes == [(5, 8), (6, 4)]
    both, right = flat.decoded
    assert (both.shape, right.shape) == ((8, 8), (8, 4))
    assert (both[5:] == both[4]).all()
    assert (right[6:] == each[3][1]).all()
    flat.decoded.clear()
    heights = [3, 4, 4, 4]
    Mosaic.of([picture(ids[:row]) for ids, row in zip(each, heights, strict=True)]).paint(flat)
    assert [ids.shape for ids in flat.decoded] == [(4, 8), (4, 4), (4, 8)]  # none beyond the end


def test_what_did_not_change_is_not_decoded_again(flat: RecordingDetokenizer) -> None:
    each = grids(4)
    pictures = [picture(ids[:2]) for ids in each]
    mosaic = Mosaic.of(pictures)
    first = mosaic.paint(flat)
    assert flat.shapes == [(2, 8), (2, 8)]
    assert mosaic.paint(flat) is first
    for made, ids in zip(pictures[2:], each[2:], strict=True):
        grow(made, ids[2:3])
    assert mosaic.paint(flat) is not first
    assert flat.shapes == [(3, 8)]


def test_a_picture_put_in_anothers_place_is_seen(flat: RecordingDetokenizer) -> None:
    each = grids(2)
    mosaic = Mosaic.of([picture(each[0])])
    mosaic.paint(flat)
    mosaic.place(0, picture(each[1]))
    assert np.array_equal(pixels(mosaic.paint(flat)), flat.decode(each[1][None])[0])


def test_a_time_lapse_ends_with_the_whole_mosaic(flat: RecordingDetokenizer) -> None:
    mosaic = Mosaic.of([picture(ids) for ids in grids(4)])
    frames = [pixels(frame) for frame in mosaic.time_lapse(flat)]
    assert len(frames) == 4
    for held, frame in enumerate(frames, 1):
        paper = (frame == PAPER).all((1, 2))
        assert paper.tolist() == ([False] * held * SIDE + [True] * (4 - held) * SIDE) * 2
    assert np.array_equal(frames[-1], pixels(mosaic.paint(flat)))


# Both clients


@pytest.fixture(params=SHELLS)
def connect(request: pytest.FixtureRequest) -> Connect:
    return SHELLS[request.param]


def drawn(events: Iterator[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, PictureAccepted)]


def test_a_seamless_request_brings_the_whole_mosaic_with_every_event(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    with connect(tiny_server.ws_url) as client:
        events = drawn(client.generate(PROMPT, 4, seed=5, seamless=True))
        apart = client.pictures(PROMPT, 4, seed=5)
        detokenizer = client.detokenizer
    assert detokenizer is not None
    assert all(event.seamless for event in events)
    assert {event.index for event in events} == {0, 1, 2, 3}
    assert {pixels(event.image).shape for event in events} == {(8 * SIDE, 8 * SIDE, 3)}
    each = np.stack([event.picture.grid for event in apart])
    assert np.array_equal(pixels(events[-1].image), detokenizer.decode(joined(each, 2)[None])[0])
    assert not any(event.seamless for event in apart)
    assert {pixels(event.image).shape for event in apart} == {(4 * SIDE, 4 * SIDE, 3)}


def test_finished_seamless_pictures_all_bring_the_finished_mosaic(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    with connect(tiny_server.ws_url) as client:
        ended = client.pictures(PROMPT, 6, seed=5, seamless=True)
        assert client.detokenizer is not None
        whole = pixels(Mosaic.of([each.picture for each in ended]).paint(client.detokenizer))
    assert [each.index for each in ended] == list(range(6))
    assert all(np.array_equal(pixels(each.image), whole) for each in ended)


def test_a_viewer_sees_the_mosaic_too(connect: Connect, tiny_folder: Path) -> None:
    with (
        paced_server(tiny_folder) as (server, gate),
        connect(server.ws_url) as owner,
        connect(server.ws_url) as viewer,
    ):
        events = owner.generate(PROMPT, 4, seed=5, seamless=True)
        next(events)
        key = view_key(owner.session.active[0].key)  # while all are being drawn
        gate.open()
        *_, own = events
        *_, seen = viewer.watch(key, 4, seamless=True)
    assert np.array_equal(pixels(seen.image), pixels(own.image))


def test_without_decoding_a_seamless_request_brings_ids_alone(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    with connect(tiny_server.ws_url, decode=False) as client:
        events = list(client.generate(PROMPT, 4, seamless=True))
    assert all(event.image is None for event in events)
    assert isinstance(events[-1], PictureDone)


def test_a_slow_consumer_gets_the_newest_mosaic_by_one_decode(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    """What arrived while nobody looked is decoded once, for whichever pictures it came."""
    go_on, sent = threading.Event(), threading.Event()
    with connect(tiny_server.ws_url) as client:
        model = client.session.model()

    async def script(peer: Peer) -> None:
        await peer.receive()
        await peer.send(welcome(model))
        await peer.receive()
        await peer.send(*(accepted(stream, revision=model.revision) for stream in range(4)))
        await peer.send(*(rows(0, 1, stream) for stream in range(4)))
        await asyncio.to_thread(go_on.wait)
        for row in (1, 2, 3):
            await peer.send(*(rows(row, 1, stream) for stream in range(4)))
        await (await peer.connection.ping())  # answered once all before it has been read
        sent.set()
        await peer.send(*(done(stream=stream) for stream in range(4)))
        await peer.connection.wait_closed()

    with fake_server(script) as fake, connect(fake.url) as client:
        events = client.generate(PROMPT, 4, seamless=True)
        first = next(event for event in events if isinstance(event, RowsArrived))
        assert (pixels(first.image)[SIDE : 4 * SIDE] == PAPER).all()
        go_on.set()
        assert sent.wait(10)  # meanwhile this consumer takes nothing
        time.sleep(0.1)
        rest = list(events)
        assert client.detokenizer is not None
        each = [event.picture for event in rest[-4:]]
        whole = pixels(Mosaic.of(each).paint(client.detokenizer))
    late = [event for event in rest if isinstance(event, RowsArrived)]
    assert sum(len(event.rows) for event in [first, *late]) == 16
    assert len(late) < 15
    assert len({id(event.image) for event in rest}) == 1
    assert np.array_equal(pixels(rest[-1].image), whole)


async def test_one_mosaic_is_decoded_at_a_time_while_frames_are_read(
    tiny_server: RowcastServer,
) -> None:
    async with rowcast.connect(tiny_server.ws_url) as client:
        detokenizer = client.detokenizer
        assert detokenizer is not None
        decoding, sizes = threading.Lock(), []
        decode: Callable[[NDArray[np.integer]], NDArray[np.uint8]] = detokenizer.decode

        def slowly(ids: NDArray[np.integer]) -> NDArray[np.uint8]:
            assert decoding.acquire(blocking=False)
            time.sleep(0.2)
            sizes.append(ids.size)
            decoding.release()
            return decode(ids)

        detokenizer.decode = slowly  # type: ignore[method-assign]
        events = [event async for event in client.generate(PROMPT, 4, seed=5, seamless=True)]
    assert isinstance(events[-1], PictureDone)
    assert sizes[-1] == 8 * 8
    assert len(sizes) <= 8  # of 16 rows: some states, a few ragged and so in parts, then the newest
