"""The server's page in headless Chromium, at the near end of a link: a first visit, and a return.

A visit goes to the page, asks for a picture as soon as the form takes one, and is over once the
preview has painted it. When rows become visible is noted in the page itself: of each painting of
its canvas the start of the next frame, by the clock that all processes of the machine share.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import Any, Final

from playwright.sync_api import Page, sync_playwright
from rowcast.errors import RowcastError

CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome")
OPTIONS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
MOST_SECONDS: Final = 120.0  # of a step of a visit over the slowest link
# Notes [rows shown, epoch milliseconds] of each strip that is put on a canvas of 16 rows.
NOTE: Final = """
window.shown = [];
const put = CanvasRenderingContext2D.prototype.putImageData;
CanvasRenderingContext2D.prototype.putImageData = function (...words) {
  put.apply(this, words);
  if (words.length < 7) return;
  const rows = Math.round((16 * (words[4] + words[6])) / this.canvas.height);
  requestAnimationFrame((now) => window.shown.push([rows, performance.timeOrigin + now]));
};
"""


@dataclass(frozen=True)
class Visited:
    """A visit; times are of time.monotonic. ``shown`` are rows held and when they were visible,
    ``loaded`` when the form took a request, ``painted`` when the preview had painted all."""

    begun: float
    loaded: float
    shown: list[tuple[int, float]]
    painted: float


def installed() -> str | None:
    """The path of the Chromium that is installed."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


class Browser:
    """A browser of an empty profile, for `Worker`: it ends with the process.

    Raises RowcastError where there is none.
    """

    def __init__(self) -> None:
        path = installed()
        if path is None:
            raise RowcastError("no Chromium is installed")
        chromium = sync_playwright().start().chromium  # which has a loop of this thread's own
        browser = chromium.launch(executable_path=path, args=list(OPTIONS))
        self._context = browser.new_context()
        self._context.add_init_script(NOTE)

    def visit(self, address: str, rows: int, seed: int) -> Visited:
        """Go to the page, draw the picture of this number, and leave."""
        page: Page = self._context.new_page()
        page.set_default_timeout(1e3 * MOST_SECONDS)
        begun = time.monotonic()
        page.goto(address, wait_until="commit")
        page.wait_for_selector("#draw:enabled", state="attached")
        loaded = time.monotonic()
        for name, value in (("prompt", "a picture"), ("images", "1"), ("seed", str(seed))):
            page.fill(f"[name={name}]", value)
        page.click("#draw")
        page.locator(".sheet .state", has_text="done").first.wait_for()
        page.get_by_text("painted by Web").first.wait_for()
        painted = time.monotonic()
        noted: list[list[Any]] = page.evaluate("window.shown")
        page.close()
        ahead = time.time() - time.monotonic()
        shown = [(int(held), when / 1e3 - ahead) for held, when in noted]
        if not shown or max(held for held, _ in shown) < rows:
            raise RowcastError(f"the page at {address} did not show the whole picture")
        return Visited(begun, loaded, shown, painted)
