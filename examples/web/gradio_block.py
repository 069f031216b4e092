"""Pictures that form, in Gradio: a block fed from rows.

    pip install rowcast gradio
    rowcast serve
    python gradio_block.py ws://127.0.0.1:8765

Rows reach this program, 40 bytes each; Gradio sends its pages whole pictures, one after the other.
"""

import sys
from collections.abc import AsyncIterator

import gradio as gr
import rowcast
from PIL import Image


def pictures(server: str) -> gr.Blocks:
    """A block with a prompt and a gallery, whose pictures form as their rows come."""

    async def draw(prompt: str, images: float) -> AsyncIterator[list[tuple[Image.Image, str]]]:
        shown: dict[int, tuple[Image.Image, str]] = {}
        try:
            async with rowcast.connect(server) as client:
                async for event in client.generate(prompt, images=int(images)):
                    if event.image is not None:
                        held, rows = event.picture.rows_held, event.picture.recipe.rows
                        shown[event.index] = (event.image, f"{held} of {rows} rows")
                        yield [shown[index] for index in sorted(shown)]
        except rowcast.RowcastError as error:
            raise gr.Error(str(error)) from error

    with gr.Blocks(title="Pictures that form") as block:
        prompt = gr.Textbox("a red house at sunset, two palm trees", label="Prompt")
        images = gr.Slider(1, 16, value=4, step=1, label="Pictures")
        with gr.Row():
            start, stop = gr.Button("Draw", variant="primary"), gr.Button("Stop")
        gallery = gr.Gallery(label="Pictures", columns=2, format="jpeg", object_fit="contain")
        # Stopping leaves the generator, which closes the client, which ends the pictures.
        drawing = start.click(draw, [prompt, images], gallery, show_progress="hidden")
        stop.click(None, cancels=[drawing])
    return block


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python gradio_block.py ws://127.0.0.1:8765")
    pictures(sys.argv[1]).launch()
