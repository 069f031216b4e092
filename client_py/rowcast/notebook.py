"""Pictures that form in place in a Jupyter notebook.

>>> display = NotebookDisplay()                                           # doctest: +SKIP
>>> async for event in client.generate("a red house", images=4):          # doctest: +SKIP
...     display.update(event)
"""

from __future__ import annotations

import math

from PIL import Image

from .errors import RowcastError
from .events import Event
from .pixels.palette import PAPER

GAP_PIXELS = 4


class NotebookDisplay:
    """One output cell, repainted as events arrive; several pictures form side by side.

    ``side`` is the width in pixels at which a picture is shown; None shows it as it is.
    Raises RowcastError outside a notebook (where IPython is not installed, or does not run).
    """

    def __init__(self, side: int | None = 256) -> None:
        try:
            from IPython.display import display
        except ModuleNotFoundError as error:
            raise RowcastError(
                "there is no notebook here: IPython is not installed; pip install notebook"
            ) from error
        self._side = side
        self._images: dict[int, Image.Image] = {}
        self._handle = display("waiting for the first row …", display_id=True)
        if self._handle is None:
            raise RowcastError("there is no notebook here: IPython is installed, but does not run")

    def update(self, event: Event) -> None:
        """Show an event's image; events without an image change nothing."""
        if event.image is not None:
            self._images[0 if event.seamless else event.index] = event.image
            self._handle.update(contact_sheet(self._images, self._side))


def contact_sheet(
    images: dict[int, Image.Image], side: int | None = None, columns: int = 0
) -> Image.Image:
    """Contact sheet: pictures by number, row by row, in a grid as square as can be.

    ``columns``, if it is not 0, is how many stand in a row.
    """
    first = next(iter(images.values()))
    width = side or first.width
    height = round(first.height * width / first.width)
    count = max(images) + 1
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = Image.new(
        "RGB",
        (columns * (width + GAP_PIXELS) - GAP_PIXELS, rows * (height + GAP_PIXELS) - GAP_PIXELS),
        PAPER,
    )
    for index, image in images.items():
        row, column = divmod(index, columns)
        place = (column * (width + GAP_PIXELS), row * (height + GAP_PIXELS))
        sheet.paste(image.resize((width, height), Image.Resampling.LANCZOS), place)
    return sheet
