"""The incremental tier with postcard's own files: fetched with the full one, then forgotten."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from rowcast.detokenizer import Detokenizer
from rowcast.errors import DetokenizerError
from rowcast.events import Event, PictureDone, PictureRepainted, RowsArrived
from rowcast.incremental import IncrementalDecoder
from rowcast.messages import MAX_INCREMENTAL_BYTES, DetokenizerFile, Done, Model, Rows, encode
from rowcast.onnx_file import Weights, _lend
from rowcast.painter import Painter
from rowcast.requests import Request
from rowcast.tiers import FORMING, IncrementalTier

from tests.support.easels import Table
from tests.support.fake_server import MODEL, accepted
from tests.support.servers import running_server
from tests.support.shells import SHELLS
from tests.support.site import Handler, sends, site

pytestmark = pytest.mark.timeout(120)

GRID, SIDE, CODES = 16, 8, 2401
PROMPT = "night over the sea, a boat with a red sail"
LEAST_DECIBELS = 30.0


def postcard() -> Path:
    spec = importlib.util.find_spec("rowcast_server")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)), "models", "postcard")


FILES = {
    "palette": ("uint8", (postcard() / "palette.npy").read_bytes()),
    "full": ("fp32", (postcard() / "detokenizer.onnx").read_bytes()),
    "incremental": ("fp32", (postcard() / "incremental.onnx").read_bytes()),
}
FULL_SHA256 = hashlib.sha256(FILES["full"][1]).digest()


@pytest.fixture(scope="module")
def whole() -> Detokenizer:
    return Detokenizer(postcard() / "detokenizer.onnx")


def draw(seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, CODES, (GRID, GRID))


def rows_of(stream: int, first: int, last: int) -> bytes:
    """Rows of the picture that `draw` makes of the stream's number."""
    return encode(Rows(stream, first, draw(stream)[first:last].astype("<u2").tobytes()))


def end_of(stream: int) -> bytes:
    return encode(Done(stream, GRID, zlib.crc32(draw(stream).astype("<u2").tobytes()), 5, 0))


def begun(*streams: int, **more: int) -> list[bytes]:
    return [accepted(stream, rows=GRID, cols=GRID, **more) for stream in streams]


def decibels(picture: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    error = np.square(picture.astype(float) - reference).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-6)))


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def shop(**sent: bytes) -> Iterator[tuple[Model, list[str]]]:
    """postcard as a server announces it, and what was asked for; ``sent`` is really sent."""
    asked: list[str] = []

    def answer(handler: Handler) -> None:
        kind = handler.path.strip("/")
        asked.append(kind)
        sends(sent.get(kind, FILES[kind][1]))(handler)

    with site(answer) as web:
        base = web.url.rpartition("/")[0]
        files = [
            DetokenizerFile(
                kind, precision, len(content), hashlib.sha256(content).digest(), f"{base}/{kind}"
            )
            for kind, (precision, content) in FILES.items()
        ]
        sizes = {"rows": GRID, "cols": GRID, "pixels_per_token": SIDE, "codebook_size": CODES}
        yield replace(MODEL, files=files, **sizes), asked


def changed(model: Model, kind: str, **values: Any) -> Model:
    files = [replace(f, **values) if f.kind == kind else f for f in model.files]
    return replace(model, files=files)


@contextmanager
def painting(model: Model, **options: Any) -> Iterator[Painter]:
    """A painter that has loaded all that it will."""
    painter = Painter("ws://127.0.0.1:8765", **options)
    try:
        painter.load(model)
        until(lambda: not painter.is_loading)
        yield painter
    finally:
        painter.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Model, Painter]]:
    """A painter with all tiers; tests leave no picture in it."""
    with shop() as (model, _), painting(model, cache=tmp_path_factory.mktemp("c")) as painter:
        yield model, painter


def states(painter: Painter) -> dict[Any, Any]:
    tier = painter._tiers["incremental"]
    assert isinstance(tier, IncrementalTier)
    return tier.incremental._states


def pixels(event: Event, rows: int = GRID) -> NDArray[np.uint8]:
    assert event.image is not None
    return np.asarray(event.image)[: rows * SIDE]


# On a real server


@pytest.fixture(scope="module")
def without_preview(tmp_path_factory: pytest.TempPathFactory) -> str:
    """postcard as it would be without a small decoder."""
    folder = tmp_path_factory.mktemp("model") / "postcard"
    shutil.copytree(postcard(), folder, ignore=shutil.ignore_patterns("preview*"))
    return str(folder)


@pytest.mark.parametrize("shell", SHELLS)
def test_pictures_form_incrementally_and_end_as_full_decodes(
    shell: str, whole: Detokenizer, without_preview: str
) -> None:
    """The first visit fetches; at the second all is there."""
    with running_server(without_preview, slots=2) as server:
        for visit in range(2):
            seen: list[str | None] = []
            with SHELLS[shell](server.ws_url) as client:
                for event in client.generate(PROMPT, 2, seed=3):
                    if event.tier not in seen:
                        seen.append(event.tier)
                    if isinstance(event, PictureDone):
                        last = whole.decode(event.picture.grid[None])[0]
                        assert np.array_equal(pixels(event), last)
                    elif isinstance(event, PictureRepainted) and event.tier == "incremental":
                        assert nearest(event, whole) >= LEAST_DECIBELS
                # A first visit may be over before the last file has come.
                assert client.tiers[-1] == "full fp32 on cpu"
                assert not visit or client.tiers[-2] == "incremental fp32 on cpu"
            assert not visit or seen == [None, "palette", "incremental", "full"]


@pytest.mark.parametrize("shell", SHELLS)
def test_where_there_is_a_preview_the_incremental_file_is_left(shell: str) -> None:
    with running_server("postcard", slots=2) as server:
        for visit in range(2):
            seen: list[str | None] = []
            with SHELLS[shell](server.ws_url) as client:
                for event in client.generate(PROMPT, 2, seed=3):
                    if event.tier not in seen:
                        seen.append(event.tier)
                kinds = [tier.split()[0] for tier in client.tiers]
            assert not visit or (kinds, seen) == (
                ["palette", "preview", "full"],
                [None, "palette", "preview", "full"],
            )


def nearest(event: Event, whole: Detokenizer) -> float:
    """Decibels from a full decode of as many rows as the image shows: more may have come since."""
    held = event.picture.rows_held
    return max(
        decibels(pixels(event, rows), whole.decode(event.picture.ids[None, :rows])[0])
        for rows in range(max(1, held - 6), held + 1)
    )


# What is fetched, and what is refused


def test_the_incremental_file_comes_last_and_a_lower_quality_leaves_it() -> None:
    with shop() as (model, asked):
        with painting(model, quality="palette"):
            assert asked == ["palette"]
        with painting(model) as painter:
            assert painter.descriptions == (
                "palette uint8",
                "incremental fp32 on cpu",
                "full fp32 on cpu",
            )
            assert painter._full is None  # its bytes are not held
        assert asked == ["palette", "full", "incremental"]  # the palette was kept


def test_where_nothing_can_be_kept_weights_come_from_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with shop() as (model, _), painting(model, cache=tmp_path / "file") as painter:
        assert painter.descriptions[1] == "incremental fp32 on cpu"
        assert painter._full is None
        table = Table(painter, model=model)
        table.receive(*begun(0), rows_of(0, 0, 5))
        *_, repainted = table.settle()
        assert repainted.tier == "incremental"
        table.easel.close()


def test_a_file_that_is_not_the_announced_one_is_refused_by_name(
    caplog: pytest.LogCaptureFixture, whole: Detokenizer
) -> None:
    content = FILES["incremental"][1]
    bad = content[:-1] + bytes([content[-1] ^ 1])
    with shop(incremental=bad) as (model, _), painting(model) as painter:
        assert painter.descriptions == ("palette uint8", "full fp32 on cpu")
        url = next(file.url for file in model.files if file.kind == "incremental")
        table = Table(painter, model=model)
        table.receive(*begun(0), rows_of(0, 0, GRID), end_of(0))
        *_, end = table.settle()
    for part in (url, hashlib.sha256(bad).hexdigest(), hashlib.sha256(content).hexdigest()):
        assert part in caplog.text
    assert "going on without the incremental" in caplog.text
    assert np.array_equal(pixels(end), whole.decode(draw(0)[None])[0])


def test_the_full_file_of_another_export_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    other = onnx.load_from_string(FILES["full"][1])
    other.metadata_props.add(key="note", value="the same tensors in the same places")
    content = other.SerializeToString()
    with shop(full=content) as (model, _):
        sha256 = hashlib.sha256(content).digest()
        model = changed(model, "full", bytes=len(content), sha256=sha256)
        with painting(model) as painter:
            assert painter.descriptions == ("palette uint8", "full fp32 on cpu")
    assert f"the full decoder {FULL_SHA256.hex()}, not from {sha256.hex()}" in caplog.text


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_full_file_that_is_too_short_is_refused(share: float) -> None:
    short = FILES["full"][1][: int(share * len(FILES["full"][1]))]
    with pytest.raises(DetokenizerError, match="not for the weights of"):
        IncrementalDecoder(FILES["incremental"][1], weights=Weights(short, FULL_SHA256))


@pytest.mark.parametrize(
    ("key", "value"),
    [("location", "/etc/hostname"), ("location", "../x"), ("offset", "-8"), ("offset", str(2**62)),
     ("length", "4"), ("offset", "far")],
)  # fmt: skip
def test_weights_that_lie_elsewhere_are_refused(key: str, value: str) -> None:
    graph = onnx.load_from_string(FILES["incremental"][1])
    tensor = next(each for each in graph.graph.initializer if each.external_data)
    next(entry for entry in tensor.external_data if entry.key == key).value = value
    weights = Weights(FILES["full"][1], FULL_SHA256)
    with pytest.raises(DetokenizerError, match="x is no ONNX file, or is damaged"):
        IncrementalDecoder(graph.SerializeToString(), weights=weights, name="x")


def test_an_onnx_runtime_that_cannot_lend_says_so() -> None:
    with pytest.raises(DetokenizerError, match="pip install --upgrade onnxruntime"):
        _lend(object(), np.zeros(1, np.uint8))


def test_without_the_full_decoder_in_fp32_it_is_not_fetched(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "rowcast")
    with shop() as (model, asked), painting(changed(model, "full", precision="fp16")) as painter:
        assert painter.descriptions[-1] == "full fp32 on cpu"  # as the file says
        assert "incremental" not in asked
    assert "here the full one is fp16 on cpu" in caplog.text


def test_one_that_is_announced_too_large_is_not_fetched(caplog: pytest.LogCaptureFixture) -> None:
    with shop() as (model, asked):
        large = changed(model, "incremental", bytes=MAX_INCREMENTAL_BYTES + 1)
        with painting(large) as painter:
            assert painter.detokenizer is not None
        assert "incremental" not in asked
    assert "the incremental has at most 1048576" in caplog.text


# While pictures form


def test_two_pictures_at_once_keep_their_states_apart(
    served: tuple[Model, Painter], whole: Detokenizer
) -> None:
    model, painter = served
    alone = IncrementalDecoder(postcard() / "incremental.onnx")
    table = Table(painter, 2, model=model)
    table.receive(*begun(0, 1))
    for row in range(GRID - 1):
        table.receive(rows_of(0, row, row + 1), rows_of(1, row, row + 1))
        shown = {e.index: e for e in table.settle() if isinstance(e, PictureRepainted)}
        for index in (0, 1):
            expected = alone.paint(index, draw(index)[: row + 1])
            assert np.array_equal(pixels(shown[index], row + 1), expected)
            assert decibels(expected, whole.decode(draw(index)[None, : row + 1])[0]) > 20
    assert len(states(painter)) == 2
    for stream in (0, 1):
        table.receive(rows_of(stream, GRID - 1, GRID), end_of(stream))
    ends = [event for event in table.settle() if isinstance(event, PictureDone)]
    for end in ends:
        assert np.array_equal(pixels(end), whole.decode(draw(end.index)[None])[0])
    assert (len(ends), len(states(painter))) == (2, 0)


def test_many_rows_at_once_and_a_prefix_are_decoded_from_the_first_row(
    served: tuple[Model, Painter], whole: Detokenizer
) -> None:
    model, painter = served
    late, forked = Table(painter, model=model), Table(painter, model=model)
    late.receive(*begun(0), rows_of(0, 0, 9))
    forked.generation.request = Request("x", prefix=draw(0)[:9].astype("<u2").tobytes())
    forked.receive(*begun(0, first_row=9))
    for table in (late, forked):
        *_, repainted = table.settle()
        assert repainted.tier == "incremental"
        assert decibels(pixels(repainted, 9), whole.decode(draw(0)[None, :9])[0]) > 50
        table.receive(rows_of(0, 9, 11))
        *_, repainted = table.settle()
        assert repainted.tier == "incremental"
        table.easel.close()
    assert states(painter) == {}


def test_leaving_drops_states_also_of_a_decode_that_is_under_way(
    served: tuple[Model, Painter],
) -> None:
    model, painter = served
    table = Table(painter, 2, model=model)
    table.receive(*begun(0, 1), rows_of(0, 0, 3), rows_of(1, 0, 3))
    table.told()
    first = table.easel.next_decode()
    assert first is not None
    first()
    table.told()
    second = table.easel.next_decode()
    assert second is not None
    assert len(states(painter)) == 1
    table.easel.close()
    assert states(painter) == {}
    second()
    assert states(painter) == {}


def test_no_more_states_are_kept_than_said(served: tuple[Model, Painter]) -> None:
    model, painter = served
    images = FORMING + 4
    table = Table(painter, images, model=model)
    table.receive(*begun(*range(images)))
    for row in range(2):
        table.receive(*(rows_of(n, row, row + 1) for n in range(images)))
        repainted = [e for e in table.settle() if isinstance(e, PictureRepainted)]
        assert {event.index for event in repainted} == set(range(images))
        assert len(states(painter)) == FORMING
    table.easel.close()
    assert states(painter) == {}


class Broken:
    """A session that fails, or gives no numbers."""

    def __init__(self, session: Any, is_nan: bool) -> None:
        self._session, self._is_nan = session, is_nan

    def run(self, *arguments: Any) -> Any:
        if not self._is_nan:
            raise RuntimeError("no kernel image")
        values, *rest = self._session.run(*arguments)
        return [values * np.float32("nan"), *rest]


@pytest.mark.parametrize(("is_nan", "words"), [(False, "no kernel image"), (True, "NaN")])
def test_one_that_fails_is_done_without_and_nothing_is_lost(
    is_nan: bool, words: str, caplog: pytest.LogCaptureFixture, whole: Detokenizer
) -> None:
    with shop() as (model, _), painting(model) as painter:
        table = Table(painter, model=model)
        table.receive(*begun(0), rows_of(0, 0, 4))
        table.settle()
        tier = painter._tiers["incremental"]
        assert isinstance(tier, IncrementalTier)
        tier.incremental._session = Broken(tier.incremental._session, is_nan)
        table.receive(rows_of(0, 4, 6))
        arrived, repainted = table.settle()
        assert isinstance(arrived, RowsArrived)
        assert repainted.tier == "full"
        assert np.array_equal(pixels(repainted, 6), whole.decode(draw(0)[None, :6])[0])
        assert painter.descriptions == ("palette uint8", "full fp32 on cpu")
        table.receive(rows_of(0, 6, GRID), end_of(0))
        *_, end = table.settle()
        assert np.array_equal(pixels(end), whole.decode(draw(0)[None])[0])
    assert words in caplog.text
    assert "going on without the incremental" in caplog.text
