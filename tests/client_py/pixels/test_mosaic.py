"""Pictures joined without seams: how they are laid out, what is decoded together, what is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rowcast_server
from numpy.typing import NDArray
from rowcast.errors import InvalidRequest
from rowcast.events import PictureDone
from rowcast.messages import DoneReason
from rowcast.picture import Picture, Recipe, Sampling
from rowcast.pixels.detokenizer import MEMORY_BUDGET_BYTES, PAPER, Detokenizer
from rowcast.pixels.mosaic import Mosaic

from tests.support.client.mosaics import joined, pixels
from tests.support.tiny_model import PIXELS_PER_TOKEN, tiny_detokenizer

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


def drawn(count: int, postcard: Detokenizer) -> NDArray[np.integer]:
    """Random grids [count, 16, 16] of postcard's codes."""
    return grids(count, 16, postcard.codebook_size, seed=3)


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
        (0, None, "images must be 1 or more, not 0"),
    ],
)
def test_counts_that_make_no_rectangle(images: int, columns: int | None, fault: str) -> None:
    with pytest.raises(InvalidRequest, match=fault):
        Mosaic(images, columns)


def test_an_event_is_no_picture() -> None:
    end = PictureDone(0, picture(grids(1)[0]), DoneReason.COMPLETE)
    with pytest.raises(InvalidRequest, match=r"an event's is event\.picture"):
        Mosaic.of([end])  # type: ignore[list-item]


def test_pictures_of_other_sizes_are_not_joined() -> None:
    with pytest.raises(InvalidRequest, match=r"picture 1 .* has 8 x 8 ids, picture 0 4 x 4"):
        Mosaic.of([picture(grids(1)[0]), picture(grids(1, 8)[0], rows=8)])


# The whole mosaic


@pytest.mark.parametrize(
    ("images", "decodes"), [(1, 1), (2, 3), (3, 5), (4, 9), (6, 15), (9, 25), (36, 121)]
)
def test_a_mosaic_is_decoded_by_windows_of_one_picture(
    flat: RecordingDetokenizer, images: int, decodes: int
) -> None:
    """So memory for a decode does not grow with the mosaic."""
    each = grids(images)
    mosaic = Mosaic.of([picture(ids) for ids in each])
    painted = pixels(mosaic.paint(flat))
    assert [ids.shape for ids in flat.decoded] == [(4, 4)] * decodes
    assert np.array_equal(painted, flat.decode(joined(each, mosaic.columns)[None])[0])


@pytest.mark.parametrize(("rows", "cols"), [(5, 3), (3, 5), (1, 4), (4, 1), (1, 1), (2, 2)])
def test_grids_of_odd_sides_and_of_one_row(
    flat: RecordingDetokenizer, rows: int, cols: int
) -> None:
    each = np.random.default_rng(1).integers(1, CODES, (6, rows, cols))
    painted = Mosaic.of([picture(ids, rows) for ids in each]).paint(flat)
    assert np.array_equal(pixels(painted), flat.decode(joined(each, 3)[None])[0])
    assert {ids.shape for ids in flat.decoded[:-1]} == {(rows, cols)}


@pytest.mark.parametrize(("images", "columns"), [(4, 2), (6, 2), (6, 3)])
def test_the_middle_and_the_outer_sides_of_postcards_pictures_are_as_alone(
    postcard: Detokenizer, images: int, columns: int
) -> None:
    """Also when it was painted while it formed, ragged."""
    each = drawn(images, postcard)
    mosaic = Mosaic(images, columns)
    pictures = [picture(ids[:0], rows=16) for ids in each]
    for index, made in enumerate(pictures):
        mosaic.place(index, made)
    for stop in ([0] * images, [5, 4, 0, 16, 2, 9][:images], [16] * images):
        for made, ids, row in zip(pictures, each, stop, strict=True):
            grow(made, ids[made.rows_held : row])
        painted = mosaic.paint(postcard)
    whole = pixels(painted)
    assert np.array_equal(
        whole, pixels(Mosaic.of([picture(ids, 16) for ids in each], columns).paint(postcard))
    )
    side = 16 * postcard.pixels_per_token
    quarter = side // 4
    for index, alone in enumerate(postcard.decode(each)):
        row, column = divmod(index, columns)
        above, below = (row > 0) * quarter, side - (row < mosaic.rows - 1) * quarter
        left, right = (column > 0) * quarter, side - (column < columns - 1) * quarter
        here = whole[row * side : (row + 1) * side, column * side : (column + 1) * side]
        assert np.array_equal(here[above:below, left:right], alone[above:below, left:right])
        assert not np.array_equal(here, alone)


def test_at_a_seam_postcards_mosaic_is_the_window_across_it(postcard: Detokenizer) -> None:
    left, right = drawn(2, postcard)
    painted = pixels(Mosaic.of([picture(ids, 16) for ids in (left, right)]).paint(postcard))
    across = postcard.decode(np.concatenate([left[:, 8:], right[:, :8]], axis=1)[None])[0]
    alone = postcard.decode(np.stack([left, right]))
    middle = 8 * postcard.pixels_per_token
    seam = 2 * middle
    there = slice(seam - 1, seam + 1), slice(middle - 1, middle + 1)
    apart = np.abs(painted[:, there[0]].astype(int) - across[:, there[1]])
    assert apart.max() <= 1
    between = painted[:, seam + middle // 4].astype(
        int
    )  # half of each, an eighth of the picture on
    both = (across[:, middle + middle // 4], alone[1][:, middle // 4])
    assert (np.minimum(*both) - 1 <= between).all()
    assert (between <= np.maximum(*both) + 1).all()
    assert np.abs(between - (both[0].astype(int) + both[1]) / 2).max() <= 4


def test_postcards_pictures_join_where_pasted_ones_show_an_edge(postcard: Detokenizer) -> None:
    each = drawn(4, postcard)
    whole = pixels(Mosaic.of([picture(ids, rows=16) for ids in each]).paint(postcard))
    middle = 16 * postcard.pixels_per_token

    def step(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> float:
        return float(np.abs(left[:, -1].astype(int) - right[:, 0]).mean())

    alone = postcard.decode(each)
    beside = step(whole[:middle, :middle], whole[:middle, middle:])
    assert beside < step(alone[0], alone[1]) / 2
    below = step(whole[:middle].swapaxes(0, 1), whole[middle:].swapaxes(0, 1))
    pasted = np.concatenate(list(alone), axis=1).swapaxes(0, 1)
    assert below < step(pasted[: 2 * middle], pasted[2 * middle :]) / 2


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


def test_a_window_across_a_seam_shows_the_rows_that_both_pictures_hold(
    flat: RecordingDetokenizer,
) -> None:
    each = grids(3)
    heights = [2, 3, 0]
    Mosaic.of([picture(ids[:row]) for ids, row in zip(each, heights, strict=True)]).paint(flat)
    assert flat.shapes == [(2, 4), (3, 4), (2, 4)]
    left, right, across = flat.decoded
    assert np.array_equal(across[:2], np.concatenate([each[0, :2, 2:], each[1, :2, :2]], axis=1))
    assert (across[2:] == across[1]).all()  # guessed, as those of the pictures are
    assert (left[2:] == left[1]).all()
    assert (right[3:] == right[2]).all()


def test_a_seam_between_rows_of_pictures_is_joined_once_there_is_something_below_it(
    flat: RecordingDetokenizer,
) -> None:
    each = grids(4)
    told = []
    for heights in ([4, 3, 0, 0], [4, 3, 1, 1], [4, 4, 1, 0], [4, 4, 1, 1]):
        Mosaic.of([picture(ids[:row]) for ids, row in zip(each, heights, strict=True)]).paint(flat)
        told.append(flat.shapes)
    pair = [(4, 4), (3, 4), (3, 4)]
    assert told[0] == pair
    assert told[1] == [*pair, (1, 4), (1, 4), (1, 4), (3, 4)]  # the left seam: two rows and one
    pair = [(4, 4)] * 3
    assert told[2] == [*pair, (1, 4), (3, 4)]
    assert told[3] == [*pair, (1, 4), (1, 4), (1, 4), (3, 4), (3, 4), (3, 4)]


def test_what_did_not_change_is_not_decoded_again(flat: RecordingDetokenizer) -> None:
    each = grids(4)
    pictures = [picture(ids[:2]) for ids in each]
    mosaic = Mosaic.of(pictures)
    first = mosaic.paint(flat)
    assert flat.shapes == [(2, 4)] * 6
    assert mosaic.paint(flat) is first
    grow(pictures[3], each[3][2:3])
    assert mosaic.paint(flat) is not first
    assert flat.shapes == [(3, 4)]


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
