"""Bodies of `POST /v1/images/generations`, field by field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rowcast.openai_gateway.answers import BadRequest
from rowcast.openai_gateway.image_request import read_request


def read(**fields: Any) -> Any:
    return read_request(json.dumps({"prompt": "a red boat"} | fields).encode())


def test_what_is_left_out_is_the_servers_choice() -> None:
    asked = read()
    assert (asked.images, asked.form, asked.stream) == (1, "png", None)
    assert set(asked.options.values()) == {None}


def test_what_the_sdk_sends_beside_its_own_is_passed_on() -> None:
    asked = read(seed=7, temperature=0.5, top_k=3, top_p=0.9, guidance=4.0, min_p=0.1, model="mini")
    assert asked.options == {
        "model": "mini",
        "seed": 7,
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.9,
        "guidance": 4.0,
        "min_p": 0.1,
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"quality": "auto", "background": "opaque", "moderation": "low", "user": "alice"},
        {"response_format": "b64_json", "n": 10, "output_format": "png"},
        {"output_format": "png", "output_compression": 100},
        {"stream": True, "partial_images": 3, "n": 1},
        {"partial_images": 0},
        {"n": None, "size": None, "stream": None},
    ],
    ids=str,
)
def test_what_can_be_honoured_is_taken(fields: dict[str, Any]) -> None:
    read(**fields)


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"prompt": 5}, "prompt", "Expected `str`, got `int`"),
        ({"n": 0}, "n", ">= 1"),
        ({"n": 11}, "n", "<= 10"),
        ({"response_format": "url"}, "response_format", "b64_json alone"),
        ({"background": "transparent"}, "background", "no transparency"),
        ({"quality": "hd"}, "quality", "the model has one"),
        ({"partial_images": 4}, "partial_images", "0 to 3"),
        ({"partial_images": 1}, "partial_images", "stream=true"),
        ({"stream": True, "n": 2}, "n", "one picture"),
        ({"output_format": "avif"}, "output_format", "avif"),
        ({"output_compression": 101, "output_format": "jpeg"}, "output_compression", "<= 100"),
        ({"output_compression": 50}, "output_compression", "jpeg and webp"),
        ({"style": "vivid"}, "style", "unknown field"),
        ({"temperature": "hot"}, "temperature", "Expected `float"),
    ],
    ids=str,
)
def test_what_cannot_is_refused_by_its_name(fields: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(**fields)
    assert caught.value.field == field
    assert words in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"{}", b'{"prompt": "\\ud800"}'])
def test_bodies_that_are_no_request(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read_request(body)
