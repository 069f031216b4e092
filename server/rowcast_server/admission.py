"""Admission: a `start` is checked against the model and the limits, and becomes an order or a
refusal.

A refusal is an application's mistake, answered by an `error` on the stream; bytes that are no
message at all never come this far.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rowcast.messages import MAX_SEED, MAX_STREAM, ErrorCode, Limits, Model, Range, Start

from .engine.request import PictureRequest
from .errors import Refused
from .families.text import EncodedText, Tokenizer
from .network.facts import Sampling

MAX_TOLD: Final = 65_535  # of `accepted.text_cut` and `text_lost`
# The tokenizer's alphabet (models/text.py): the family was taught on English captions.
READABLE: Final = "English in the letters a to z, digits, punctuation, and emoji by their names"


@dataclass(frozen=True)
class ServedModel:
    """A model's announcement and the tokenizer of its prompts."""

    announcement: Model
    tokenizer: Tokenizer


@dataclass(frozen=True)
class Order:
    """An admitted `start`: pictures that differ in their image number alone."""

    model: Model
    prompt: str
    text_ids: tuple[int, ...]
    seed: int
    seed_was_given: bool
    sampling: Sampling
    stop_row: int
    prefix: bytes = b""  # whole rows of ids, as they are on the wire
    text_cut: int = 0  # tokens of the prompt that were too many
    text_lost: int = 0  # characters of the prompt that the model does not know

    @property
    def row_bytes(self) -> int:
        return self.model.cols * self.model.id_bytes

    def request(self, image: int) -> PictureRequest:
        prefix = None
        if self.prefix:
            ids = ids_from(self.prefix, self.model).astype(np.int64)
            prefix = ids.reshape(-1, self.model.cols)
        return PictureRequest(self.text_ids, self.seed, image, self.sampling, self.stop_row, prefix)


def ids_from(wire: bytes, model: Model) -> NDArray[np.unsignedinteger]:
    """Read ids off the wire, little-endian and `id_bytes` each."""
    return np.frombuffer(wire, f"<u{model.id_bytes}")


def admit(start: Start, served: ServedModel, limits: Limits) -> Order:
    """Check a `start` against the model and the limits. Raises Refused."""
    options, model = start.options, served.announcement
    if options.model not in (None, model.name):
        raise Refused(
            ErrorCode.UNKNOWN_MODEL, f"no model {options.model!r} here; there is {model.name}"
        )
    if options.revision is not None and options.revision != model.revision:
        raise Refused(
            ErrorCode.WRONG_REVISION,
            f"this server draws {model.name} revision {model.revision.hex()}, "
            f"not {options.revision.hex()}; pictures of two revisions do not mix",
        )
    prompt = _prompt(start.prompt, limits)
    _images(start, limits)
    seed = secrets.randbelow(MAX_SEED + 1) if options.seed is None else options.seed
    if not 0 <= seed <= MAX_SEED:
        raise Refused(ErrorCode.BAD_SEED, f"seed must be 0 to {MAX_SEED}, not {seed}")
    stop_row = model.rows if options.stop_row is None else options.stop_row
    if not 1 <= stop_row <= model.rows:
        raise Refused(ErrorCode.BAD_STOP_ROW, f"stop_row must be 1 to {model.rows}, not {stop_row}")
    sampling, prefix = _sampling(start, model), _prefix(options.prefix, model, stop_row)
    text = _read(prompt, served)  # last: it takes longest
    return Order(
        model=model,
        prompt=prompt,
        text_ids=tuple(text.ids.tolist()),
        seed=seed,
        seed_was_given=options.seed is not None,
        sampling=sampling,
        stop_row=stop_row,
        prefix=prefix,
        text_cut=min(text.cut, MAX_TOLD),
        text_lost=min(text.lost, MAX_TOLD),
    )


def _prompt(prompt: str, limits: Limits) -> str:
    if not prompt.strip():
        raise Refused(ErrorCode.BAD_PROMPT, "the prompt is empty")
    size = len(prompt.encode())
    if size > limits.prompt_bytes:
        raise Refused(
            ErrorCode.BAD_PROMPT,
            f"the prompt has {size} bytes; at most {limits.prompt_bytes} are allowed",
        )
    return prompt


def _read(prompt: str, served: ServedModel) -> EncodedText:
    text = served.tokenizer.encode(prompt)
    if not text.is_read:  # the model would draw as for the empty text
        model = served.announcement
        what = f"; it draws: {model.description}" if model.description else ""
        raise Refused(
            ErrorCode.BAD_PROMPT,
            f"{model.name} can read nothing of this prompt: it reads {READABLE}{what}",
        )
    return text


def _images(start: Start, limits: Limits) -> None:
    if not 1 <= start.images <= limits.images:
        why = ": this server takes no more at once" if start.images > limits.images else ""
        raise Refused(
            ErrorCode.BAD_IMAGES, f"images must be 1 to {limits.images}, not {start.images}{why}"
        )
    for name, first in (("stream", start.stream), ("first_image", start.options.first_image)):
        if first + start.images - 1 > MAX_STREAM:
            raise Refused(
                ErrorCode.BAD_IMAGES,
                f"{name} + images must be at most {MAX_STREAM + 1}, not {first + start.images}",
            )


def _sampling(start: Start, model: Model) -> Sampling:
    values = {}
    for parameter in fields(Sampling):
        name = parameter.name
        number = type(getattr(Sampling, name))  # int or float
        asked, allowed = getattr(start.options, name), getattr(model.sampling, name)
        values[name] = number(_in_range(name, asked, allowed))
    return Sampling(**values)


def _in_range(name: str, value: float | None, allowed: Range) -> float:
    if value is None:
        return allowed.default
    if not math.isfinite(value) or not allowed.low <= value <= allowed.high:
        raise Refused(
            ErrorCode.BAD_SAMPLING,
            f"{name} must be {allowed.low:g} to {allowed.high:g}, not {value:g}",
        )
    return value


def _prefix(prefix: bytes | None, model: Model, stop_row: int) -> bytes:
    if not prefix:
        return b""
    row_bytes = model.cols * model.id_bytes
    rows, rest = divmod(len(prefix), row_bytes)
    if rest or rows >= stop_row:
        raise Refused(
            ErrorCode.BAD_PREFIX,
            f"prefix must be whole rows of {row_bytes} bytes, fewer than {stop_row} of them; "
            f"it has {len(prefix)} bytes",
        )
    highest = ids_from(prefix, model).max()
    if highest >= model.codebook_size:
        raise Refused(
            ErrorCode.BAD_PREFIX,
            f"prefix holds the id {highest}; {model.name} has {model.codebook_size} codes",
        )
    return prefix
