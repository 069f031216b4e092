"""What a `start` may ask for, and the error that answers each thing that it may not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from rowcast.messages import MAX_SEED, MAX_STREAM, Limits, Model, Options, Start
from rowcast_server.admission import Order, ServedModel, admit
from rowcast_server.errors import Refused
from rowcast_server.network.facts import Sampling

from tests.support.fakes import KEY, LIMITS, MODEL, TOKENIZER, ids_of

WIDE = Model(
    "wide",
    bytes(8),
    rows=2,
    cols=3,
    pixels_per_token=8,
    codebook_size=70_000,
    id_bytes=4,
    sampling=MODEL.sampling,
    files=[],
)


def ask(
    prompt: str = "a red boat",
    images: int = 1,
    stream: int = 0,
    limits: Limits = LIMITS,
    served: Model = MODEL,
    **options: Any,
) -> Order:
    start = Start(stream, KEY, prompt, images, Options(**options))
    return admit(start, ServedModel(served, TOKENIZER), limits)


def refusal(**arguments: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        ask(**arguments)
    return refused.value


def test_what_is_left_out_is_the_models_default() -> None:
    order = ask()
    assert order.model is MODEL
    assert order.sampling == Sampling(temperature=1.0, top_k=256, top_p=1.0, guidance=16.0)
    assert order.stop_row == 4
    assert order.prefix == b""
    assert order.request(0).prefix is None


def test_a_seed_that_is_not_given_is_drawn_anew_and_is_a_seed() -> None:
    seeds = {ask().seed for _ in range(20)}
    assert len(seeds) > 1
    assert all(0 <= seed <= MAX_SEED for seed in seeds)
    assert not ask().seed_was_given
    assert ask(seed=0).seed_was_given


@pytest.mark.parametrize("seed", [0, 1, MAX_SEED])
def test_every_seed_of_32_bits_is_taken(seed: int) -> None:
    assert ask(seed=seed).seed == seed


def test_the_request_of_an_image_holds_all_that_determines_it() -> None:
    order = ask(images=3, seed=5, first_image=7, top_k=3, stop_row=2)
    request = order.request(9)
    assert (request.seed, request.image, request.stop_row) == (5, 9, 2)
    assert request.sampling.top_k == 3
    assert request.text_ids == tuple(int(token) for token in TOKENIZER.encode("a red boat").ids)


@pytest.mark.parametrize("prompt", ["", " ", "\n\t  "])
def test_a_prompt_without_a_letter_is_refused(prompt: str) -> None:
    assert refusal(prompt=prompt).code == "bad_prompt"


def test_a_prompt_is_measured_in_bytes_of_utf8() -> None:
    fits = "é" * 511 + "at"
    assert ask(prompt=fits).prompt == fits
    assert "at most" in refusal(prompt=f"{fits}e").text
    assert refusal(prompt="x" * 10_000).code == "bad_prompt"


@pytest.mark.parametrize("prompt", ["\x00at", "🦄 of 🌊", "a" * 1_024, "  red  boat  ", "\u202eat"])
def test_odd_prompts_are_drawn(prompt: str) -> None:
    assert len(ask(prompt=prompt).text_ids) == 64


@pytest.mark.parametrize(
    "prompt",
    [
        "海边的红房子",
        "красный дом на закате",
        "بيت أحمر عند الغروب",
        "¿",
        "ÀÉÎ",
        "ａ ｒｅｄ ｈｏｕｓｅ",  # full-width
        "\u200b\u200d\ufeff",  # zero-width
        "\u202e",
        "\x00\x07\n\x7f",
        "…—“”",
        "\U0010fffd",
    ],
)
def test_a_prompt_of_which_the_model_knows_nothing_is_refused(prompt: str) -> None:
    """Or it would draw as for the empty text, without a word."""
    refused = refusal(prompt=prompt)
    assert (refused.code, refused.retry_ms) == ("bad_prompt", 0)
    assert "tiny can read nothing of this prompt: it reads English" in refused.text
    said = structs.replace(MODEL, description="Boats by the sea.")
    assert refusal(prompt=prompt, served=said).text.endswith("; it draws: Boats by the sea.")


@pytest.mark.parametrize(
    ("prompt", "lost"),
    [
        ("a red boat", 0),
        ("a red bôat", 1),
        ("a red bo\u0302at", 0),  # the letter is there, its mark is not
        ("a red boat ☀️", 0),  # spelled out: sun
        ("a red boat \u200d\ufe0f", 0),
        ("a red\u00a0boat", 1),  # a space that is none to the tokenizer
        ("a red boat\n", 1),
        ("un bateau rouge: ça va?", 3),  # this vocabulary has neither ç nor : and ?
        ("红 a red boat 海边", 3),
    ],
)
def test_a_prompt_that_is_read_in_part_tells_how_much_is_lost(prompt: str, lost: int) -> None:
    order = ask(prompt=prompt)
    assert (order.text_lost, order.text_cut) == (lost, 0)


def test_what_is_lost_is_told_up_to_what_the_wire_can_tell() -> None:
    wide = structs.replace(LIMITS, prompt_bytes=1_048_576)
    assert ask(prompt="at" + "海" * 70_000, limits=wide).text_lost == 65_535


@pytest.mark.parametrize("images", [0, -1, 17, 1_000, 2**63 - 1, -(2**63)])
def test_a_number_of_images_out_of_range_is_refused(images: int) -> None:
    assert refusal(images=images).code == "bad_images"


def test_streams_and_images_end_at_65535() -> None:
    assert ask(stream=MAX_STREAM - 1, images=2)
    assert refusal(stream=MAX_STREAM, images=2).code == "bad_images"
    assert ask(first_image=MAX_STREAM - 1, images=2)
    assert refusal(first_image=MAX_STREAM, images=2).code == "bad_images"


@pytest.mark.parametrize("seed", [-1, 2**32, 2**63 - 1, -(2**63)])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    assert refusal(seed=seed).code == "bad_seed"


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0},
        {"temperature": -1.0},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"temperature": 1e308},
        {"temperature": 5e-324},
        {"top_k": -1},
        {"top_k": 0},  # this model's range begins at 1
        {"top_k": 2**63 - 1},
        {"top_p": 0.0},
        {"top_p": 1.0001},
        {"top_p": math.nan},
        {"guidance": -math.inf},
        {"guidance": 65.0},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"min_p": math.nan},
    ],
)
def test_sampling_out_of_the_models_range_is_refused(options: dict[str, float]) -> None:
    refused = refusal(**options)
    assert refused.code == "bad_sampling"
    assert refused.retry_ms == 0
    assert next(iter(options)) in refused.text


@pytest.mark.parametrize(
    "options", [{"temperature": 0.01}, {"temperature": 8}, {"top_k": 1}, {"top_p": 0.01}]
)
def test_the_ends_of_a_range_are_in_it(options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    assert getattr(ask(**options).sampling, name) == value


@pytest.mark.parametrize("stop_row", [0, -1, 5, 2**40])
def test_a_stop_row_outside_the_grid_is_refused(stop_row: int) -> None:
    assert refusal(stop_row=stop_row).code == "bad_stop_row"


def test_a_prefix_is_whole_rows_of_little_endian_ids() -> None:
    order = ask(prefix=ids_of(0, 0, 2))
    assert (order.prefix, order.row_bytes) == (ids_of(0, 0, 2), 8)
    prefix = order.request(0).prefix
    assert prefix is not None
    assert prefix.dtype == np.int64
    np.testing.assert_array_equal(prefix, [[11, 12, 13, 14], [21, 22, 23, 24]])
    wide = ask(served=WIDE, prefix=(69_999).to_bytes(4, "little") * 3).request(0).prefix
    assert wide is not None
    np.testing.assert_array_equal(wide, [[69_999] * 3])


def test_an_empty_prefix_is_none() -> None:
    assert ask(prefix=b"").request(0).prefix is None


@pytest.mark.parametrize(
    "options",
    [
        {"prefix": ids_of(0, 0, 1)[:4]},
        {"prefix": b"\x00"},
        {"prefix": ids_of(0, 0, 2) + b"\x00\x00"},
        {"prefix": ids_of(0, 0, 4)},
        {"prefix": ids_of(0, 0, 5)},
        {"prefix": ids_of(0, 0, 2), "stop_row": 2},
        {"prefix": (16_384).to_bytes(2, "little") * 4},
        {"prefix": b"\xff" * 8},
        {"served": WIDE, "prefix": (70_000).to_bytes(4, "little") * 3},
        {"served": WIDE, "prefix": b"\xff" * 12},
    ],
    ids=[
        "half a row",
        "one byte",
        "a row and a token",
        "all rows",
        "too long",
        "as long as stop_row",
        "an id beyond the codebook",
        "the largest id",
        "beyond a wide codebook",
        "the largest of 4 bytes",
    ],
)
def test_a_prefix_that_is_no_part_of_a_picture_is_refused(options: dict[str, Any]) -> None:
    assert refusal(**options).code == "bad_prefix"


def test_an_unknown_model_is_refused_and_the_known_one_is_named() -> None:
    refused = refusal(model="mega")
    assert refused.code == "unknown_model"
    assert "tiny" in refused.text
    assert ask(model="tiny").model is MODEL
    assert ask(served=WIDE, model="wide").model is WIDE


def test_pictures_of_two_revisions_do_not_mix() -> None:
    assert ask(revision=MODEL.revision).model is MODEL
    assert refusal(revision=bytes(8)).code == "wrong_revision"
    assert ask(served=WIDE, revision=bytes(8)).model is WIDE


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"images": 0}, "images must be 1 to 16, not 0$"),
        ({"images": -1}, "images must be 1 to 16, not -1$"),
        ({"images": 17}, "images must be 1 to 16, not 17: this server takes no more at once$"),
        ({"images": 2, "stream": 65_535}, r"stream \+ images must be at most 65536, not 65537$"),
        (
            {"images": 2, "first_image": 65_535},
            r"first_image \+ images must be at most 65536, not 65537$",
        ),
    ],
)
def test_what_is_wrong_with_the_images_is_named(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(Refused, match=text):
        ask(**changes)
