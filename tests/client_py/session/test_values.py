"""Values of other libraries: numpy's numbers and texts, views of bytes; and what is no value."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from rowcast.errors import InvalidRequest
from rowcast.messages import Options
from rowcast.requests import OPTION_NAMES, Request

from tests.support.client.sessions import PROMPT, greeted, the_start
from tests.support.fake_server import ids_until


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({"seed": np.int64(7)}, {"seed": 7}),
        ({"seed": np.uint32(2**32 - 1)}, {"seed": 2**32 - 1}),
        ({"seed": np.array(7)}, {"seed": 7}),
        ({"first_image": np.int32(2)}, {"first_image": 2}),
        ({"stop_row": np.int8(3)}, {"stop_row": 3}),
        ({"top_k": np.int64(16)}, {"top_k": 16}),
        ({"temperature": np.float64(1.0)}, {"temperature": 1.0}),
        ({"temperature": np.float32(0.5)}, {"temperature": 0.5}),
        ({"temperature": 1}, {"temperature": 1.0}),
        ({"guidance": np.int64(2)}, {"guidance": 2.0}),
        ({"top_p": Fraction(1, 2)}, {"top_p": 0.5}),
        ({"top_p": Decimal("0.5")}, {"top_p": 0.5}),
        ({"model": np.str_("tiny")}, {"model": "tiny"}),
        ({"prefix": bytearray(ids_until(1))}, {"prefix": ids_until(1)}),
        ({"prefix": memoryview(ids_until(1))}, {"prefix": ids_until(1)}),
    ],
)
def test_a_value_of_another_library_is_sent_as_the_plain_one(
    given: dict[str, Any], plain: dict[str, Any]
) -> None:
    _, frames = greeted().start(Request(np.str_(PROMPT), np.int64(2), **given))  # type: ignore[arg-type]
    start = the_start(frames)
    assert (start.prompt, start.images, start.options) == (PROMPT, 2, Options(**plain))
    [(name, value)] = plain.items()
    assert type(getattr(start.options, name)) is type(value)


@pytest.mark.parametrize("name", ["seed", "stop_row", "first_image", "top_k", "temperature"])
@pytest.mark.parametrize("value", [True, np.bool_(True), "1", 1 + 0j, np.array([1, 2]), object()])
def test_what_is_no_number_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"^{name} must be"):
        greeted().start(Request(PROMPT, **{name: value}))


@pytest.mark.parametrize("images", [True, np.bool_(True), 1.0, "1", None])
def test_a_number_of_pictures_is_whole(images: Any) -> None:
    with pytest.raises(InvalidRequest, match="images must be a whole number"):
        greeted().start(Request(PROMPT, images))


@pytest.mark.parametrize("prompt", [None, 7, b"a red boat", ["a", "red", "boat"]])
def test_a_prompt_is_text(prompt: Any) -> None:
    with pytest.raises(InvalidRequest, match="the prompt must be text, not"):
        greeted().start(Request(prompt))


@pytest.mark.parametrize("name", ["prefix", "revision"])
@pytest.mark.parametrize("value", ["revision", np.zeros(8, np.uint8), [0] * 8])
def test_bytes_are_bytes(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"{name} must be bytes, not"):
        greeted().start(Request(PROMPT, **{name: value}))


@pytest.mark.parametrize("key", ["k" * 16, None, list(bytes(16))])
def test_a_view_key_is_bytes(key: Any) -> None:
    with pytest.raises(InvalidRequest, match="view_key must be bytes, not"):
        greeted().watch(key)


@pytest.mark.parametrize("unknown", [{"steps": 3}, {"sead": 1, "cfg_scale": 2.0}])
def test_an_option_that_there_is_not_is_answered_with_those_that_there_are(
    unknown: dict[str, Any],
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Request(PROMPT, **unknown)
    told = str(caught.value)
    assert all(name in told for name in [*unknown, *OPTION_NAMES])
    assert "Request" not in told
    assert {"seed", "temperature", "stop_row", "model"} <= {*OPTION_NAMES}
