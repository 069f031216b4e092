"""Requests for pictures, checked here before anything is sent.

The server checks again (its answers are `error` frames); a mistake found here costs no round trip.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, Final, Unpack

import msgspec
import numpy as np

from .errors import BeyondLimits, InvalidRequest, ProtocolError
from .messages import (
    MAX_SEED,
    MAX_STREAM,
    MAX_TOKEN_CHARACTERS,
    REVISION_BYTES,
    Limits,
    Model,
    Options,
    Range,
    id_bytes_for,
)
from .picture import SAMPLING, Picture, Sampling, SamplingOptions, sampling_options

MAX_TOP_K: Final = 2**32 - 1  # what a .rows file can hold


class RequestOptions(SamplingOptions, total=False):
    """The keyword options of `generate`; what is left out is the server's choice.

    ``seed`` 0 … 2³²−1. ``first_image`` numbers the first picture. ``temperature``, ``top_k`` (0
    keeps all), ``top_p``, ``guidance`` and ``min_p`` (0 keeps all) within the model's ranges.
    ``stop_row`` draws only the first so many rows. ``prefix`` holds the ids of whole rows,
    little-endian, to continue from. ``revision`` (8 bytes) insists on a model's revision.
    """

    model: str | None
    seed: int | None
    first_image: int
    stop_row: int | None
    prefix: bytes | None
    revision: bytes | None


# A token, or what gives a fresh one for each connection: signed ones end.
Token = str | Callable[[], str] | None


def token_text(token: Token) -> str | None:
    """The token to show now. Raises InvalidRequest for what cannot be one."""
    text = token() if callable(token) else token
    if text is None:
        return None
    encode_text("token", text)
    if len(text) > MAX_TOKEN_CHARACTERS:
        raise InvalidRequest(f"token must have at most {MAX_TOKEN_CHARACTERS} characters")
    return str(plain_text(text))


OPTION_NAMES: Final = tuple(sorted(RequestOptions.__annotations__))


class Request:
    """``images`` pictures of a prompt; ``options`` are `RequestOptions`, as `start` sends them.

    Numbers may be of any library's types. Raises InvalidRequest for an option that there is not.
    """

    def __init__(self, prompt: str, images: int = 1, **options: Unpack[RequestOptions]) -> None:
        if unknown := sorted(options.keys() - {*OPTION_NAMES}):
            raise InvalidRequest(
                f"options are prompt, images, seamless, {', '.join(OPTION_NAMES)}; "
                f"there is no {', '.join(unknown)}"
            )
        self.prompt = plain_text(prompt)
        self.images = plain_number(images, int)
        self.options = Options(
            **{name: _plain_option(name, value) for name, value in options.items()}
        )

    @classmethod
    def continuing(
        cls, picture: Picture, row: int | None, seed: int | None, stop_row: int | None = None
    ) -> Request:
        """Draw on from the first ``row`` rows of a picture, all it holds if None, to ``stop_row``.

        Raises InvalidRequest where those rows are not held, where nothing is left to draw, or
        where the picture was somebody else's.
        """
        recipe = picture.recipe
        if not recipe.is_known:
            raise InvalidRequest("the picture was only watched: its prompt is not known")
        rows = picture.rows_held if row is None else row
        if rows == recipe.rows:
            raise InvalidRequest("the picture is complete; choose the row to draw on from")
        rows = check_whole("row", rows, 0, picture.rows_held)
        if stop_row is not None:
            check_whole("stop_row", stop_row, rows + 1, recipe.rows)
        return cls(
            recipe.prompt,
            model=recipe.model,
            seed=recipe.seed if seed is None else seed,
            first_image=recipe.image,
            stop_row=stop_row,
            prefix=picture.held_bytes[: rows * recipe.cols * recipe.id_bytes] or None,
            revision=recipe.revision,
            **sampling_options(recipe.sampling),
        )


def check_request(request: Request, model: Model, limits: Limits) -> None:
    """Raise InvalidRequest for what a server with these limits cannot accept, its BeyondLimits
    for what another might."""
    options = request.options
    size = len(encode_text("prompt", request.prompt))
    if not request.prompt.strip():
        raise InvalidRequest("the prompt is empty")
    if size > limits.prompt_bytes:
        raise BeyondLimits(
            f"the prompt has {size} bytes; the server takes at most {limits.prompt_bytes}"
        )
    check_count("images", request.images, limits.images)
    check_whole("first_image", options.first_image, 0, MAX_STREAM - request.images + 1)
    if options.seed is not None:
        check_whole("seed", options.seed, 0, MAX_SEED)
    if options.stop_row is not None:
        check_whole("stop_row", options.stop_row, 1, model.rows)
    for name, kind in SAMPLING.items():
        value = getattr(options, name)
        if value is not None:
            if kind is int:
                check_whole(name, value, 0, MAX_TOP_K)
            allowed: Range = getattr(model.sampling, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and value and allowed == Range(0, 0, 0):  # left out of `welcome`
                raise BeyondLimits(f"{name} must be left out: this server does not know it")
            if not is_number or not allowed.low <= value <= allowed.high:  # NaN is in no range
                raise InvalidRequest(
                    f"{name} must be from {allowed.low:g} to {allowed.high:g}, not {value!r}"
                )
    if options.prefix is not None:
        check_bytes("prefix", options.prefix)
    if options.revision is not None:
        check_bytes("revision", options.revision, REVISION_BYTES)


def resolve_sampling(request: Request, model: Model) -> Sampling:
    """The sampling of a request's pictures: the model's defaults where nothing is asked for."""
    values = {}
    for name, kind in SAMPLING.items():
        asked = getattr(request.options, name)
        values[name] = kind(getattr(model.sampling, name).default if asked is None else asked)
    return Sampling(**values)  # type: ignore[arg-type]  # each of its own kind


def check_announced(model: Model) -> None:
    """Raise ProtocolError where what a server announced cannot be."""
    if model.id_bytes != id_bytes_for(model.codebook_size):
        raise ProtocolError(
            f"{model.name} was announced with {model.codebook_size} ids of {model.id_bytes} bytes"
        )
    ranges = {name: getattr(model.sampling, name) for name in SAMPLING}
    numbers = [number for each in ranges.values() for number in msgspec.structs.astuple(each)]
    counts = [ranges[name].default for name, kind in SAMPLING.items() if kind is int]
    if not all(map(math.isfinite, numbers)) or not all(
        count.is_integer() and 0 <= count <= MAX_TOP_K for count in counts
    ):
        raise ProtocolError(f"{model.name} was announced with a sampling that cannot be")


def encode_text(name: str, text: str) -> bytes:
    """UTF-8. Raises InvalidRequest for what is no text; ``name`` is the argument's."""
    if not isinstance(text, str):
        raise InvalidRequest(f"the {name} must be text, not {type(text).__name__}")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"the {name} is no valid text: {error}") from error


def check_whole(name: str, value: int, low: int, high: int) -> int:
    """The whole number ``value``. Raises InvalidRequest unless it is from ``low`` to ``high``."""
    value = plain_number(value, int)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidRequest(f"{name} must be a whole number from {low} to {high}, not {value!r}")
    return value


def check_count(name: str, value: int, limit: int) -> int:
    """The number ``value``, from 1 on. Raises BeyondLimits for more than a server's ``limit``."""
    value = check_whole(name, value, 1, MAX_STREAM + 1)
    if value > limit:
        raise BeyondLimits(f"{name} must be 1 to {limit}, not {value}: this server takes no more")
    return value


def check_flag(name: str, value: bool) -> bool:
    """True or False. Raises InvalidRequest for anything else."""
    if not isinstance(value, bool | np.bool_):
        raise InvalidRequest(f"{name} must be True or False, not {value!r}")
    return bool(value)


def check_seconds(name: str, value: float) -> float:
    """A time in seconds. Raises InvalidRequest unless it is 0 or more; infinity is."""
    value = plain_number(value, float)
    if not isinstance(value, float) or not value >= 0:  # NaN is not
        raise InvalidRequest(f"{name} must be a number of seconds, 0 or more, not {value!r}")
    return value


def check_bytes(name: str, value: bytes, count: int | None = None) -> None:
    """Raise InvalidRequest unless ``value`` is ``count`` bytes, or any number of them."""
    if not isinstance(value, bytes):
        raise InvalidRequest(f"{name} must be bytes, not {type(value).__name__}")
    if count is not None and len(value) != count:
        raise InvalidRequest(f"{name} has {count} bytes, not {len(value)}")


def plain_number(value: Any, kind: type[int] | type[float]) -> Any:
    """A number of any library's type as Python's own int, or float; all else as it is."""
    if isinstance(value, bool | np.bool_ | str | bytes):
        return value
    try:
        return operator.index(value) if kind is int else float(value)
    except (TypeError, ValueError, OverflowError):
        return value


def plain_text(value: Any) -> Any:
    """A text of any library's type as Python's own str; all else as it is."""
    return str.__str__(value) if isinstance(value, str) else value


def _plain_option(name: str, value: Any) -> Any:
    if name in SAMPLING:
        return plain_number(value, SAMPLING[name])
    if name in ("seed", "first_image", "stop_row"):
        return plain_number(value, int)
    return bytes(value) if isinstance(value, bytearray | memoryview) else plain_text(value)
