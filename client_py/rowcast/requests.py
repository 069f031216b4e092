"""Requests for pictures, checked here before anything is sent.

The server checks again (its answers are `error` frames); a mistake found here costs no round trip.
"""

from __future__ import annotations

from typing import Final, Unpack

from .errors import InvalidRequest
from .messages import MAX_SEED, MAX_STREAM, REVISION_BYTES, Limits, Model, Options, Range
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


class Request:
    """``images`` pictures of a prompt; ``options`` are `RequestOptions`, as `start` sends them."""

    def __init__(self, prompt: str, images: int = 1, **options: Unpack[RequestOptions]) -> None:
        self.prompt = prompt
        self.images = images
        self.options = Options(**options)

    @classmethod
    def continuing(cls, picture: Picture, row: int | None, seed: int | None) -> Request:
        """Draw on from the first ``row`` rows of a picture; all it holds if None.

        Raises InvalidRequest where those rows are not held, or nothing is left to draw.
        """
        recipe = picture.recipe
        rows = picture.rows_held if row is None else row
        if rows == recipe.rows:
            raise InvalidRequest("the picture is complete; choose the row to draw on from")
        check_whole("row", rows, 0, picture.rows_held)
        return cls(
            recipe.prompt,
            model=recipe.model,
            seed=recipe.seed if seed is None else seed,
            first_image=recipe.image,
            prefix=picture.held_bytes[: rows * recipe.cols * recipe.id_bytes] or None,
            revision=recipe.revision,
            **sampling_options(recipe.sampling),
        )


def check_request(request: Request, model: Model, limits: Limits) -> None:
    """Raise InvalidRequest for what a server with these limits cannot accept."""
    options = request.options
    if not request.prompt.strip():
        raise InvalidRequest("the prompt is empty")
    size = len(encode_text("prompt", request.prompt))
    if size > limits.prompt_bytes:
        raise InvalidRequest(
            f"the prompt has {size} bytes; the server takes at most {limits.prompt_bytes}"
        )
    check_whole("images", request.images, 1, limits.images)
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
            if not is_number or not allowed.low <= value <= allowed.high:  # NaN is in no range
                raise InvalidRequest(
                    f"{name} must be from {allowed.low:g} to {allowed.high:g}, not {value!r}"
                )
    if options.revision is not None and len(options.revision) != REVISION_BYTES:
        raise InvalidRequest(f"a revision has {REVISION_BYTES} bytes, not {len(options.revision)}")


def resolve_sampling(request: Request, model: Model) -> Sampling:
    """The sampling of a request's pictures: the model's defaults where nothing is asked for."""
    values = {}
    for name, kind in SAMPLING.items():
        asked = getattr(request.options, name)
        values[name] = kind(getattr(model.sampling, name).default if asked is None else asked)
    return Sampling(**values)  # type: ignore[arg-type]  # each of its own kind


def encode_text(name: str, text: str) -> bytes:
    """UTF-8. Raises InvalidRequest for a lone surrogate; ``name`` is the argument's."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"the {name} is no valid text: {error}") from error


def check_whole(name: str, value: int, low: int, high: int) -> None:
    """Raise InvalidRequest unless ``value`` is a whole number from ``low`` to ``high``."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidRequest(f"{name} must be a whole number from {low} to {high}, not {value!r}")
