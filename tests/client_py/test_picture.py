"""The grid of tokens: whole rows, in order, and nothing else."""

from __future__ import annotations

import zlib
from dataclasses import fields, replace
from typing import get_type_hints

import numpy as np
import pytest
from rowcast.errors import ProtocolError
from rowcast.messages import Options, SamplingRanges
from rowcast.picture import SAMPLING, Picture, Recipe, Sampling, SamplingOptions, sampling_options
from rowcast.requests import RequestOptions

RECIPE = Recipe(
    model="tiny",
    revision=b"revision",
    prompt="a red boat",
    seed=7,
    image=0,
    sampling=Sampling(1.0, 32, 1.0, 4.0),
    rows=3,
    cols=4,
    id_bytes=2,
    detokenizer_sha256=None,
)
WIDE = replace(RECIPE, id_bytes=4)


def ids(*numbers: int, width: int = 2) -> bytes:
    return b"".join(number.to_bytes(width, "little") for number in numbers)


def test_a_new_picture_holds_nothing() -> None:
    picture = Picture(RECIPE)
    assert (picture.rows_held, picture.complete, picture.reason) == (0, False, None)
    assert picture.grid.shape == (0, 4)
    assert picture.held_bytes == b""
    assert picture.checksum == 0  # of no rows it is 0


def test_rows_are_appended_one_or_several_at_a_time() -> None:
    picture = Picture(RECIPE)
    picture.add_rows(0, ids(1, 2, 3, 4))
    picture.add_rows(1, ids(5, 6, 7, 8, 9, 10, 11, 65_535))
    assert picture.complete
    assert picture.grid.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 65_535]]


def test_what_is_held_is_what_came_over_the_wire() -> None:
    for recipe, width in ((RECIPE, 2), (WIDE, 4)):
        picture, sent = Picture(recipe), ids(1, 2, 3, 40_000, width=width)
        picture.add_rows(0, sent)
        assert picture.held_bytes == sent
        assert picture.checksum == zlib.crc32(sent)


def test_four_bytes_hold_the_largest_codebook() -> None:
    picture = Picture(WIDE)
    picture.add_rows(0, ids(0, 1, 70_000, 2**31 - 1, width=4))
    assert picture.grid.tolist() == [[0, 1, 70_000, 2**31 - 1]]


def test_a_grid_once_taken_does_not_change() -> None:
    picture = Picture(RECIPE)
    picture.add_rows(0, ids(1, 2, 3, 4))
    grid = picture.grid
    picture.add_rows(1, ids(5, 6, 7, 8))
    picture.ids[0] = 0
    assert grid.tolist() == [[1, 2, 3, 4]]
    assert grid.dtype == np.uint32


@pytest.mark.parametrize(
    ("first_row", "sent", "fault"),
    [
        (2, ids(1, 2, 3, 4), "row 2 arrived where row 1 was due"),
        (0, ids(1, 2, 3, 4), "row 0 arrived where row 1 was due"),
        (1, ids(1, 2, 3), "no whole rows"),
        (1, ids(1, 2, 3, 4, 5), "no whole rows"),
        (1, b"", "no whole rows"),
        (1, ids(*range(12)), "row 3 of a grid of 3"),
        (1, ids(1, 2, 3, 96), "the id 96 in a codebook of 96"),
    ],
)
def test_rows_that_break_the_rules_change_nothing(first_row: int, sent: bytes, fault: str) -> None:
    picture = Picture(RECIPE, codebook_size=96)
    picture.add_rows(0, ids(9, 9, 9, 9))
    with pytest.raises(ProtocolError, match=fault):
        picture.add_rows(first_row, sent)
    assert picture.grid.tolist() == [[9, 9, 9, 9]]


# Sampling parameters


def test_sampling_is_the_one_list_of_sampling_parameters() -> None:
    names = [each.name for each in fields(Sampling)]
    assert [*SAMPLING] == names
    assert set(SAMPLING.values()) <= {int, float}
    assert [*get_type_hints(SamplingOptions)] == names
    assert [*SamplingRanges.__struct_fields__] == names
    sampling = Sampling(**{name: kind(1) for name, kind in SAMPLING.items()})  # type: ignore[arg-type]
    assert sampling_options(sampling) == dict.fromkeys(names, 1)


def test_what_a_request_may_ask_for_is_what_start_carries() -> None:
    assert {*get_type_hints(RequestOptions)} == {*Options.__struct_fields__}
