"""`python -m tests.soak.load.sdk_callers URL COUNT`: so many callers by OpenAI's SDK, for ever.

Each streams a picture with three partial images, and the next when that has come. A line is printed
of each picture. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys

from openai import AsyncOpenAI

PROMPT = "a red house"


async def call(client: AsyncOpenAI, number: int) -> None:
    """Ask for pictures, one after another."""
    seed = 1_000 * number
    while True:
        seed += 1
        stream = await client.images.generate(
            prompt=PROMPT, stream=True, partial_images=3, extra_body={"seed": seed}
        )
        events = [event.type async for event in stream]
        print(events.count("image_generation.partial_image"), flush=True)


async def main(url: str, count: int) -> None:
    async with AsyncOpenAI(base_url=url, api_key="any") as client:
        calls = [asyncio.create_task(call(client, number)) for number in range(count)]
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for each in calls:
            each.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
