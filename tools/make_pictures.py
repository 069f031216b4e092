"""Make docs/forming.gif: four pictures as they form, drawn by the embedded model.

python tools/make_pictures.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import rowcast
from PIL import Image
from rowcast.notebook import contact_sheet
from rowcast.pixels.images import save_gif
from rowcast.pixels.time_lapse import time_lapse
from rowcast.sync import SyncClient
from rowcast.terminal.demo import local_server

PROMPTS = (
    "sunset over a meadow, a red house on the left, a yellow balloon on the right",
    "sunset over the sea, a boat with a red sail, a yellow balloon on the left",
    "a clear night over the mountains, a full moon on the left, a yellow house on the right",
    "dawn over the desert, a blue balloon in the middle, three palm trees",
)
SEED = 7
SIDE = 192


def forming(client: SyncClient, prompt: str) -> list[Image.Image]:
    """The picture after each of its rows."""
    (done,) = client.pictures(prompt, seed=SEED)
    assert client.detokenizer is not None
    return list(time_lapse(done.picture, client.detokenizer))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs/forming.gif")
    options = parser.parse_args()
    with local_server("postcard") as url, rowcast.connect_sync(url) as client:
        lapses = [forming(client, prompt) for prompt in PROMPTS]
    steps = zip(*lapses, strict=True)
    save_gif((contact_sheet(dict(enumerate(step)), SIDE) for step in steps), options.out)
    print(f"{options.out}: {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
