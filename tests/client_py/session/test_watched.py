"""Somebody else's pictures: what is known of them, and what is saved (R-102)."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import pytest
from PIL import Image
from rowcast.errors import InvalidRequest
from rowcast.picture import UNKNOWN_SAMPLING, Picture
from rowcast.pixels.images import save_png
from rowcast.requests import Request
from rowcast.rows_file import decode_picture, encode_picture

from tests.support.client.sessions import greeted, started
from tests.support.fake_server import accepted, done, rows


def watched() -> Picture:
    session = greeted()
    generation, _ = session.watch(bytes(16))
    for frame in (accepted(), rows(0, 2)):
        session.receive(frame)
    (picture,) = generation.pictures
    return picture


def test_a_watched_picture_is_saved_without_a_prompt_or_a_sampling() -> None:
    saved = decode_picture(encode_picture(watched()))
    assert saved.recipe == watched().recipe
    assert (saved.recipe.prompt, saved.rows_held) == ("", 2)
    assert astuple(saved.recipe.sampling) == (0.0, 0, 0.0, 0.0, 0.0)
    assert not saved.recipe.is_known


def test_an_own_picture_is_saved_with_both() -> None:
    session, generation = started(temperature=0.5)
    for frame in (accepted(), rows(0, 4), done()):
        session.receive(frame)
    recipe = decode_picture(encode_picture(generation.pictures[0])).recipe
    assert (recipe.is_known, recipe.sampling.temperature) == (True, 0.5)
    assert recipe.sampling != UNKNOWN_SAMPLING


def test_a_watched_picture_is_not_drawn_on() -> None:
    with pytest.raises(InvalidRequest, match="only watched: its prompt is not known"):
        Request.continuing(watched(), None, None)


def test_the_png_of_a_watched_picture_names_no_sampling(tmp_path: Path) -> None:
    save_png(Image.new("RGB", (16, 16)), watched(), tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        text = image.info
    assert (text["prompt"], text["seed"], text["rows"]) == ("", "7", "2")
    assert "temperature" not in text
