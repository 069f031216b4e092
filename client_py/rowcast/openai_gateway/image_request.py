"""What is asked for: the body of ``POST /v1/images/generations``, checked field by field.

The fields are those of OpenAI's image generation (openai-openapi, `CreateImageRequest`), and beside
them the seed and the sampling parameters of `Sampling`, which an SDK sends by ``extra_body``. A
field that cannot be honoured is refused, never ignored.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

import msgspec

from ..messages import Model
from ..picture import SAMPLING
from ..requests import RequestOptions
from .answers import BadRequest

MAX_PARTIALS: Final = 3
MAX_IMAGES: Final = 10
MAX_COMPRESSION: Final = 100

# In what msgspec says of a wrong, a missing or an unknown field.
FIELD: Final = re.compile(r"`\$\.(\w+)|field `(\w+)`")

Compression = Annotated[int, msgspec.Meta(ge=0, le=MAX_COMPRESSION)]


class ImageRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request for pictures, or None in a field that leaves a choice to the server.

    ``partial_images`` is how many previews are sent of each picture at most, ``output_compression``
    the quality of JPEG and WebP, 0 to 100.
    """

    prompt: str
    model: str | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_IMAGES)] | None = None
    size: str | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Compression | None = None
    stream: bool | None = None
    partial_images: Annotated[int, msgspec.Meta(ge=0, le=MAX_PARTIALS)] | None = None
    # Of one value, or of no effect here
    response_format: Literal["b64_json"] | None = None
    quality: Literal["auto", "standard"] | None = None
    background: Literal["auto", "opaque"] | None = None
    moderation: Literal["auto", "low"] | None = None
    user: str | None = None
    # Beside OpenAI's
    seed: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    guidance: float | None = None
    min_p: float | None = None

    @property
    def images(self) -> int:
        """How many pictures are asked for."""
        return self.n or 1

    @property
    def form(self) -> str:
        """The format of the images."""
        return self.output_format or "png"

    @property
    def options(self) -> RequestOptions:
        """The options of the request to the server."""
        sampling: Any = {name: getattr(self, name) for name in SAMPLING}
        own: RequestOptions = {"model": self.model, "seed": self.seed}
        return {**own, **sampling}


def read_request(body: bytes) -> ImageRequest:
    """The request in a body of JSON. Raises BadRequest."""
    try:
        asked = msgspec.json.decode(body, type=ImageRequest)
    except msgspec.ValidationError as error:
        raise BadRequest(_explained(str(error)), _field_in(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    if asked.form == "png" and asked.output_compression not in (None, MAX_COMPRESSION):
        raise BadRequest("output_compression is for jpeg and webp", "output_compression")
    if asked.partial_images and not asked.stream:
        raise BadRequest("partial_images are sent with stream=true", "partial_images")
    if asked.stream and asked.images > 1:
        # OpenAI's events do not tell which of several pictures they are of.
        raise BadRequest("with stream=true a request draws one picture; send several", "n")
    return asked


def check_for(asked: ImageRequest, model: Model, images: int) -> None:
    """Raise BadRequest for what this model, on a server that takes ``images`` a request, cannot
    draw."""
    size = size_of(model)
    if asked.size not in (None, "auto", size):
        raise BadRequest(
            f"{model.name} draws pictures of {size}; size must be that, or auto", "size"
        )
    if asked.images > images:
        raise BadRequest(f"this server draws at most {images} pictures a request", "n")


def size_of(model: Model) -> str:
    """Width and height of a model's pictures in pixels, as ``256x256``."""
    return f"{model.cols * model.pixels_per_token}x{model.rows * model.pixels_per_token}"


def _field_in(problem: str) -> str | None:
    """The field that msgspec complains of."""
    found = FIELD.search(problem)
    return None if found is None else found[1] or found[2]


def _explained(problem: str) -> str:
    match _field_in(problem):
        case "response_format":
            return "images are given as b64_json alone: there is no address to fetch them from"
        case "background":
            return "background must be auto or opaque: the model draws no transparency"
        case "quality":
            return "quality must be auto or standard: the model has one"
        case "partial_images":
            return f"partial_images must be 0 to {MAX_PARTIALS}"
        case _:
            return problem
