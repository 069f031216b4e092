"""The whole benchmark in its least form: loopback, tiny pictures, some ways."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console
from rowcast_bench.transport import galleries, run
from rowcast_bench.transport.link import LINKS
from rowcast_bench.transport.ways import ALL
from rowcast_export.vqgan import DecoderShape, LevelShape

SHAPE = DecoderShape(
    codebook_size=512,
    code_channels=32,
    latent_channels=32,
    mid_channels=32,
    mid_attention=False,
    levels=(
        LevelShape(32, (32,), attention=False, upsample=False),
        LevelShape(32, (32,), attention=False, upsample=True),
        LevelShape(32, (32,), attention=False, upsample=True),
    ),
)
WAYS = ("tokens_preview", "tokens_full", "jpeg_8", "strips_16", "sse_3", "jpeg_end", "poll")
PLAN = run.Plan(LINKS[:1], 0.1, 1, 60.0, None, ("recorded", "20ms"), SHAPE)


def test_the_least_run_has_every_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = [way for way in ALL if way.name in WAYS]
    pace = [0.003 * (row + 1) for row in range(galleries.GRID)]
    postcard = galleries.postcard
    monkeypatch.setattr(run, "usable_ways", lambda: ways)
    monkeypatch.setattr(galleries, "PACES", {"20ms": 0.003})

    def hasty(pictures: int) -> galleries.Gallery:
        gallery = postcard(pictures)
        gallery.paces["recorded"] = pace
        return gallery

    monkeypatch.setattr(galleries, "postcard", hasty)
    told, report = run.run(Console(quiet=True), True, tmp_path, PLAN)
    results = json.loads((tmp_path / "transport-quick.json").read_text("utf-8"))
    assert told["file"] == str(tmp_path / "transport-quick.json")
    assert not list(tmp_path.glob("*.partial.json"))
    assert len(results["combinations"]) == 2 * len(WAYS)
    assert "tokens: preview" in report
    by_way = {(each["gallery"], each["way"]): each for each in results["combinations"]}
    for gallery in ("postcard", "mini"):
        ours, eight = by_way[gallery, "tokens_preview"], by_way[gallery, "jpeg_8"]
        assert ours["payload_bytes"] < 1_000
        assert [held for held, _ in eight["frames"]] == [2, 4, 6, 8, 10, 12, 14, 16]
        assert sum(size for _, size in eight["frames"]) == eight["payload_bytes"]
        assert by_way[gallery, "jpeg_end"]["availability"] == 0
        stream = by_way[gallery, "sse_3"]["frames"]  # of ours a partial one may be left out
        assert len(stream) == 4 if gallery == "mini" else 1 <= len(stream) <= 4
        assert stream[-1][0] == 16
        assert by_way[gallery, "poll"]["frames"][-1][0] == 16
        for each in (ours, eight):
            assert each["kind"] == "measured"
            assert each["rows"] == 16
    assert results["quality"]["postcard"]["tokens_full"][-1]["psnr_db"] == 120
    assert "tokens_full" not in results["quality"]["mini"]
    assert results["link_kind"] == "none"
    assert (tmp_path / "plots/bytes.png").is_file()


def test_the_page_is_what_its_document_leads_to_as_it_travels(tmp_path: Path) -> None:
    for name, content in {
        "index.html": "<script src=./assets/index-1.js>",
        "cost.html": "<script src=./assets/cost-1.js>",
        "assets/index-1.js": "import('./late-1.js')",
        "assets/index-1.js.gz": "12345",
        "assets/late-1.js": "1234567",
        "assets/cost-1.js": "not of the page",
        "runtime/one/small.wasm": "123",
        "runtime/one/large.wasm": "1234",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, "utf-8")
    page = len("<script src=./assets/index-1.js>") + len("12345") + len("1234567")
    assert run.page_bytes(tmp_path) == {"page": page, "onnxruntime": 3}
    assert run.page_bytes(tmp_path / "assets") is None
