"""What is answered: images, server-sent events and errors in OpenAI's shape.

The fields are those of openai-openapi: `ImagesResponse`, `ImageGenPartialImageEvent`,
`ImageGenCompletedEvent`, `Model`, `ErrorResponse`. Beside them an image tells its ``seed``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec

from ..codes import CloseCode, ErrorCode
from ..errors import (
    ConnectionFailed,
    DetokenizerError,
    InvalidRequest,
    ProtocolError,
    RequestRefused,
    RowcastError,
)
from ..messages import Model

PARTIAL: Final = "image_generation.partial_image"
COMPLETED: Final = "image_generation.completed"
PING: Final = b": ping\n\n"
RETRY_SECONDS: Final = 5  # where nothing tells when to come again
STATUSES: Final = {  # of the protocol's codes (protocol.md section 6); 500 of all others
    ErrorCode.BAD_PROMPT: HTTPStatus.BAD_REQUEST,
    ErrorCode.BAD_IMAGES: HTTPStatus.BAD_REQUEST,
    ErrorCode.BAD_SEED: HTTPStatus.BAD_REQUEST,
    ErrorCode.BAD_SAMPLING: HTTPStatus.BAD_REQUEST,
    ErrorCode.UNKNOWN_MODEL: HTTPStatus.BAD_REQUEST,
    ErrorCode.FORBIDDEN: HTTPStatus.FORBIDDEN,
    ErrorCode.BUSY: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorCode.TOO_MANY_STREAMS: HTTPStatus.TOO_MANY_REQUESTS,
}


class BadRequest(RowcastError):
    """What was asked for cannot be had; ``field`` is the one to change."""

    def __init__(self, text: str, field: str | None = None) -> None:
        super().__init__(text)
        self.field = field


@dataclass(frozen=True)
class Problem:
    """An error as it is told; ``retry_seconds`` None: asking again does not help."""

    status: HTTPStatus
    text: str
    code: str | None = None
    field: str | None = None
    retry_seconds: float | None = None

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's `ErrorResponse`."""
        match self.status:
            case HTTPStatus.UNAUTHORIZED:
                kind = "authentication_error"
            case HTTPStatus.TOO_MANY_REQUESTS:
                kind = "rate_limit_error"
            case status if status < HTTPStatus.INTERNAL_SERVER_ERROR:
                kind = "invalid_request_error"
            case _:
                kind = "server_error"
        told = {"message": self.text, "type": kind, "param": self.field, "code": self.code}
        return {"error": told}

    @property
    def headers(self) -> dict[str, str]:
        """Whether and when to ask again, as the SDKs read it (`x-should-retry`, RFC 9110 section
        10.2.3)."""
        if self.retry_seconds is None:
            return {"x-should-retry": "false"}
        return {"Retry-After": str(math.ceil(self.retry_seconds))}


def problem_of(error: RowcastError) -> Problem:
    """How a failure is told."""
    match error:
        case BadRequest():
            return Problem(HTTPStatus.BAD_REQUEST, str(error), field=error.field)
        case InvalidRequest():
            return Problem(HTTPStatus.BAD_REQUEST, str(error))
        case RequestRefused():
            status = STATUSES.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
            return Problem(status, error.text, error.code, retry_seconds=error.retry_seconds)
        case ConnectionFailed(code=CloseCode.BAD_TOKEN | CloseCode.TOKEN_EXPIRED):
            return Problem(HTTPStatus.UNAUTHORIZED, str(error), "invalid_api_key")
        case ConnectionFailed(code=CloseCode.RATE_LIMITED):
            return Problem(
                HTTPStatus.TOO_MANY_REQUESTS, str(error), "rate_limited", None, RETRY_SECONDS
            )
        case ConnectionFailed():
            return Problem(
                HTTPStatus.SERVICE_UNAVAILABLE, str(error), "unreachable", None, RETRY_SECONDS
            )
        case ProtocolError() | DetokenizerError():
            return Problem(HTTPStatus.BAD_GATEWAY, str(error))
        case _:
            return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))


@dataclass(frozen=True)
class ImageFacts:
    """What all images of a request have in common: when they were asked for (seconds since the
    epoch), their size as ``256x256``, their format and how many tokens each has."""

    created: int
    size: str
    form: str
    tokens: int

    @property
    def shared(self) -> dict[str, Any]:
        """The fields that an answer and its events share."""
        return {
            "size": self.size,
            "quality": "auto",
            "background": "opaque",
            "output_format": self.form,
        }

    def usage(self, images: int = 1) -> dict[str, Any]:
        """Tokens drawn. Those of the prompt are not told by the server, and count as none."""
        drawn = images * self.tokens
        return {
            "input_tokens": 0,
            "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
            "output_tokens": drawn,
            "total_tokens": drawn,
        }

    def answer(self, images: list[tuple[str, int]]) -> dict[str, Any]:
        """`ImagesResponse` of images, each base64, with its seed."""
        data = [{"b64_json": image, "seed": seed} for image, seed in images]
        usage = self.usage(len(images))
        return {"created": self.created, "data": data, **self.shared, "usage": usage}

    def partial(self, image: str, index: int) -> bytes:
        """The event of a preview, the ``index``-th from 0."""
        told = {"type": PARTIAL, "b64_json": image, "partial_image_index": index}
        return event(PARTIAL, {**told, "created_at": self.created, **self.shared})

    def completed(self, image: str, seed: int) -> bytes:
        """The event of a finished picture."""
        told = {"type": COMPLETED, "b64_json": image, "seed": seed, "usage": self.usage()}
        return event(COMPLETED, {**told, "created_at": self.created, **self.shared})


def event(name: str, data: dict[str, Any]) -> bytes:
    """A server-sent event (HTML standard, section 9.2.5)."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))


def model_answer(model: Model, created: int) -> dict[str, Any]:
    """`Model`, of which ``created`` is when this gateway began."""
    return {"id": model.name, "object": "model", "created": created, "owned_by": "rowcast"}
