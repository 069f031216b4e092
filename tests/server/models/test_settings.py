"""`model.json`: what it may say, what it may leave out, and each mistake told by its key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from rowcast.messages import MAX_WELCOME_BYTES, Limits, Welcome, encode
from rowcast_server.errors import ModelError
from rowcast_server.models.loading import LoadedModel, load
from rowcast_server.network.facts import Grid, Sampling
from rowcast_server.server import announce

from tests.support.tiny_model import tiny_model

LIMITS = Limits(4_096, 2_000, 64, 256, 30_000, 300_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("settings") / "model")


def with_settings(folder: Path, content: str | dict[str, Any]) -> LoadedModel:
    """The model with this `model.json`; a value of None takes a key out."""
    usual = json.loads((tiny := folder / "model.json").read_text("utf-8"))
    try:
        if isinstance(content, dict):
            whole = {key: value for key, value in (usual | content).items() if value is not None}
            content = json.dumps(whole)
        tiny.write_text(content, "utf-8")
        return load(str(folder))
    finally:
        tiny.write_text(json.dumps(usual), "utf-8")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"name": ""}, "`name`"),
    "a long name": ({"name": "n" * 65}, "`name`"),
    "a number for a name": ({"name": 7}, "`name`"),
    "a name of two lines": ({"name": "two\nlines"}, "`name`"),
    "no rows": ({"rows": 0}, "`rows`"),
    "65 columns": ({"cols": 65}, "`cols`"),
    "rows of text": ({"rows": "4"}, "`rows`"),
    "half a row": ({"rows": 3.5}, "`rows`"),
    "rows without columns": ({"cols": None}, "`rows` and `cols`"),
    "no codes": ({"codebook_size": 0}, "`codebook_size`"),
    "true for codes": ({"codebook_size": True}, "`codebook_size`"),
    "a start token below 0": ({"start_token": -1}, "`start_token`"),
    "temperature 0": ({"sampling": {"temperature": 0}}, "`sampling.temperature`"),
    "temperature 11": ({"sampling": {"temperature": 11}}, "`sampling.temperature`"),
    "top_k below 0": ({"sampling": {"top_k": -1}}, "`sampling.top_k`"),
    "a broken top_k": ({"sampling": {"top_k": 2.5}}, "`sampling.top_k`"),
    "top_p 0": ({"sampling": {"top_p": 0}}, "`sampling.top_p`"),
    "top_p above 1": ({"sampling": {"top_p": 1.5}}, "`sampling.top_p`"),
    "guidance 65": ({"sampling": {"guidance": 65}}, "`sampling.guidance`"),
    "min_p of text": ({"sampling": {"min_p": "0"}}, "`sampling.min_p`"),
    "another parameter": ({"sampling": {"topk": 3}}, "`topk`"),
    "sampling of a list": ({"sampling": []}, "`sampling`"),
    "an unknown key": ({"sizes": 1}, "`sizes`"),
    "more rows than positions": ({"rows": 5}, "`rows` x `cols` = 5 x 4 needs 20"),
    "more codes than outputs": ({"codebook_size": 98}, "`codebook_size` 98 needs 98"),
    "a start token beyond": ({"start_token": 97}, "`start_token` 97 needs 98"),
    "other pixels": ({"pixels_per_token": 8}, "`pixels_per_token` is 8"),
    "a long description": ({"description": "d" * 513}, "`description`"),
    "a description of lines": ({"description": "a\nb"}, "`description`"),
    "examples as text": ({"examples": "a red boat"}, "`examples`"),
    "an empty example": ({"examples": ["a red boat", ""]}, "`examples[1]`"),
    "a long example": ({"examples": ["a " * 129]}, "`examples[0]`"),
    "17 examples": ({"examples": ["a red boat"] * 17}, "`examples`"),
    "an example it cannot read": ({"examples": ["a red boat", "红房子"]}, "all of '红房子'"),
    "an example it reads in part": ({"examples": ["a red bôat"]}, "all of 'a red bôat'"),
    "an example that is cut": ({"examples": ["a red boat " * 20]}, "all of 'a red boat"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_told_by_its_key_when_the_model_is_loaded(folder: Path, mistake: str) -> None:
    changes, key = WRONG[mistake]
    with pytest.raises(ModelError) as refused:
        with_settings(folder, changes)
    assert str(folder / "model.json") in str(refused.value)
    assert key in str(refused.value)


@pytest.mark.parametrize("content", ["", "[]", "7", '{"name": "a"', '{"rows": NaN}', "\x00"])
def test_what_is_no_json_object_is_refused(folder: Path, content: str) -> None:
    with pytest.raises(ModelError, match=r"model\.json: "):
        with_settings(folder, content)


def test_each_key_may_be_left_out(folder: Path) -> None:
    model = with_settings(folder, "{}")
    assert (model.name, model.grid) == (folder.name, Grid(4, 4, 96, 96))
    assert model.sampling == Sampling()
    assert (model.description, model.examples) == ("", ())


def test_what_is_said_is_taken_and_announced(folder: Path) -> None:
    said = {
        "sampling": {"temperature": 2, "top_k": 7},
        "description": "Red boats; größer.",
        "examples": ["a red boat", "a blue house at night"],
    }
    model = with_settings(folder, said)
    assert model.sampling == Sampling(temperature=2.0, top_k=7)
    announced = announce(model)
    assert announced.description == said["description"]
    assert list(announced.examples) == said["examples"]
    assert model.revision == load(str(folder)).revision  # they are words, not weights


def test_a_byte_order_mark_as_some_editors_write_is_no_mistake(folder: Path) -> None:
    assert with_settings(folder, '\ufeff{"name": "marked"}').name == "marked"


def test_a_default_above_all_codes_is_announced_as_all_of_them(folder: Path) -> None:
    """Or clients that check what they are told could not draw at all."""
    top_k = announce(with_settings(folder, {"sampling": None})).sampling.top_k
    assert Sampling().top_k > top_k.high
    assert top_k.default == top_k.high == 96


def test_the_longest_words_fit_into_a_welcome(folder: Path) -> None:
    """With as many files, of as long addresses, as there can be."""
    longest = {"name": "海" * 64, "description": "海" * 512, "examples": ["a" * 40] * 16}
    model = announce(with_settings(folder, longest))
    (file,) = model.files
    files = [replace(file, url="u" * 1_024)] * 32
    model = replace(model, files=files, examples=("海" * 256,) * 16)
    assert len(encode(Welcome(LIMITS, [model]))) < MAX_WELCOME_BYTES


@pytest.mark.parametrize("ids", [{"a": -1}, {"a": 1.5}, {"a": True}, {"a": "5"}, {"a": None}])
def test_a_vocabulary_of_ids_that_are_none_is_refused(tmp_path: Path, ids: dict[str, Any]) -> None:
    folder = tiny_model(tmp_path / "model")
    vocabulary = json.loads((folder / "vocab.json").read_text("utf-8"))
    (folder / "vocab.json").write_text(json.dumps(vocabulary | ids), "utf-8")
    with pytest.raises(ModelError, match=r"vocab\.json"):
        load(str(folder))
