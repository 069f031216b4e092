"""What is asked of a server, and whether it can be: checked here, before anything is sent.

The server checks again (its answers are `error` frames); a mistake found here costs no round trip.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final, TypedDict

from .errors import InvalidRequest
from .messages import MAX_SEED, MAX_STREAM, REVISION_BYTES, Limits, Model, Range
from .picture import Picture, Sampling

MAX_TOP_K: Final = 2**32 - 1  # what a .rows file can hold


class RequestOptions(TypedDict, total=False):
    """The keyword options of `generate`; what is left out is the server's choice.

    ``seed`` 0 … 2³²−1. ``first_image`` numbers the first picture. ``temperature``, ``top_k`` (0
    keeps all), ``top_p`` and ``guidance`` within the model's ranges. ``stop_row`` draws only the
    first so many rows. ``prefix`` holds the ids of whole rows, little-endian, to continue from.
    ``revision`` (8 bytes) insists on a model's revision.
    """

    model: str | None
    seed: int | None
    first_image: int
    temperature: float | None
    top_k: int | None
    top_p: float | None
    guidance: float | None
    stop_row: int | None
    prefix: bytes | None
    revision: bytes | None


@dataclass(frozen=True)
class Request:
    """``images`` pictures of a prompt, and the options of `RequestOptions`."""

    prompt: str
    images: int = 1
    model: str | None = None
    seed: int | None = None
    first_image: int = 0
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    guidance: float | None = None
    stop_row: int | None = None
    prefix: bytes | None = None
    revision: bytes | None = None

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
            **asdict(recipe.sampling),
        )


def check_request(request: Request, model: Model, limits: Limits) -> None:
    """Raises InvalidRequest for what a server with these limits cannot accept."""
    if not request.prompt.strip():
        raise InvalidRequest("the prompt is empty")
    size = len(encode_text("prompt", request.prompt))
    if size > limits.prompt_bytes:
        raise InvalidRequest(
            f"the prompt has {size} bytes; the server takes at most {limits.prompt_bytes}"
        )
    check_whole("images", request.images, 1, limits.images)
    check_whole("first_image", request.first_image, 0, MAX_STREAM - request.images + 1)
    if request.seed is not None:
        check_whole("seed", request.seed, 0, MAX_SEED)
    if request.stop_row is not None:
        check_whole("stop_row", request.stop_row, 1, model.rows)
    if request.top_k is not None:
        check_whole("top_k", request.top_k, 0, MAX_TOP_K)
    for name in ("temperature", "top_k", "top_p", "guidance"):
        value, allowed = getattr(request, name), getattr(model.sampling, name)
        if value is not None:
            _in_range(name, value, allowed)
    if request.revision is not None and len(request.revision) != REVISION_BYTES:
        raise InvalidRequest(f"a revision has {REVISION_BYTES} bytes, not {len(request.revision)}")


def resolve_sampling(request: Request, model: Model) -> Sampling:
    """The sampling that a server with these defaults uses for a request."""

    def resolve(name: str) -> float:
        value: float | None = getattr(request, name)
        if value is not None:
            return value
        default: float = getattr(model.sampling, name).default
        return default

    return Sampling(
        temperature=float(resolve("temperature")),
        top_k=int(resolve("top_k")),
        top_p=float(resolve("top_p")),
        guidance=float(resolve("guidance")),
    )


def encode_text(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"the {name} is no valid text: {error}") from error


def check_whole(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidRequest(f"{name} must be a whole number from {low} to {high}, not {value!r}")


def _in_range(name: str, value: float, allowed: Range) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not allowed.low <= value <= allowed.high:  # NaN is in no range
        raise InvalidRequest(
            f"{name} must be from {allowed.low:g} to {allowed.high:g}, not {value!r}"
        )
