"""The gateway for OpenAI's SDK, before a real server, and the SDK as it comes."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import numpy as np
from numpy.typing import NDArray
from openai import AsyncOpenAI
from PIL import Image
from rowcast.openai_gateway.app import Gateway, listening
from rowcast.openai_gateway.drawing import Upstream
from rowcast.openai_gateway.studio import Studio

PROMPT = "a red boat"


@asynccontextmanager
async def gateway(
    server_url: str, token: str | None = None, origins: Collection[str] = ()
) -> AsyncIterator[str]:
    """A gateway's base URL."""
    studio = Studio(server_url, workers=1)
    try:
        before = Gateway(Upstream(server_url, token), studio, origins)
        async with listening(before, "127.0.0.1", 0) as url:
            yield url
    finally:
        await studio.close()


@asynccontextmanager
async def sdk(
    server_url: str, api_key: str = "any", retries: int = 0
) -> AsyncIterator[AsyncOpenAI]:
    """The SDK, with nothing changed but where it calls; and how often it tries again."""
    async with (
        gateway(server_url) as url,
        AsyncOpenAI(base_url=url, api_key=api_key, max_retries=retries) as client,
    ):
        yield client


def image_in(text: str | None) -> Image.Image:
    """The image of a ``b64_json``."""
    assert text is not None
    return Image.open(io.BytesIO(base64.b64decode(text, validate=True)))


def pixels_in(text: str | None) -> NDArray[np.uint8]:
    """Its pixels [height, width, 3]."""
    return np.asarray(image_in(text).convert("RGB"))
