"""A model's detokenizer files on a web server, the full one behind a gate."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace
from rowcast.messages import DetokenizerFile, Model

from tests.support.fake_server import CODES, MODEL
from tests.support.site import Handler, sends, site
from tests.support.tiny_model import tiny_detokenizer, tiny_palette

ALL = ("full", "preview", "palette")


class Shop:
    """The files of a model on a web server: what was asked for, and a gate before the full one."""

    def __init__(self, folder: Path) -> None:
        self.contents = {
            "palette": tiny_palette(folder / "palette.npy", CODES).read_bytes(),
            "preview": tiny_detokenizer(
                folder / "preview.onnx", CODES, **{"rowcast.kind": "preview"}
            ).read_bytes(),
            "full": tiny_detokenizer(folder / "full.onnx", CODES).read_bytes(),
        }
        self.sent = dict(self.contents)  # what is really sent
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.url = ""

    def answer(self, handler: Handler) -> None:
        kind = handler.path.strip("/")
        self.asked.append(kind)
        if kind == "full":
            self.gate.wait(20)
        sends(self.sent[kind])(handler)

    def model(self, *kinds: str, precision: str = "fp32") -> Model:
        files = [
            DetokenizerFile(
                kind,
                "uint8" if kind == "palette" else precision,
                len(self.contents[kind]),
                hashlib.sha256(self.contents[kind]).digest(),
                f"{self.url}/{kind}",
            )
            for kind in kinds
        ]
        return replace(MODEL, files=files)


@contextmanager
def open_shop(folder: Path) -> Iterator[Shop]:
    made = Shop(folder)
    with site(made.answer) as web:
        made.url = web.url.rpartition("/")[0]
        try:
            yield made
        finally:
            made.gate.set()
