"""`rowcast bench decode` measures what it says; the figures themselves are never tested."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from rowcast_bench.cli import bench
from rowcast_bench.decode_sheet import sheet_size

KEYS = {
    "total_full_decodes",
    "update_full_decodes_max",
    "palette_ms",
    "palette_bytes",
    "preview_cost_ratio",
    "preview_psnr_db",
    "incremental_psnr_db",
    "final_equal",
    "seam_ratio",
}
POSTCARD_SIDE = 128


@pytest.mark.timeout(600)
def test_every_figure_is_there_and_a_sheet_to_look_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    assert bench(["decode", "--quick", "--threads", "1", "--sheet", str(sheet)]) == 0
    printed = capsys.readouterr()
    figures = json.loads(printed.out.splitlines()[-1])
    assert figures.keys() >= KEYS
    assert figures["final_equal"] is True
    assert figures["total_full_decodes"] > 3
    assert figures["incremental_psnr_db"] > 30
    assert figures["schemes"].keys() >= {"palette", "incremental", "rows_so_far", "whole_grid"}
    assert figures["schemes"]["rows_so_far"]["total_full_decodes_counted"] == pytest.approx(
        8.5, abs=0.1
    )
    assert figures["palette_bytes"] == 128 + 3 * 16_384
    assert ("total_full_decodes" in figures["missed"]) == ("curve" in figures)
    assert "held-out pictures" in printed.err
    with Image.open(sheet) as image:
        lines = len([each for each in figures["schemes"].values() if "psnr_db" in each])
        assert image.size == sheet_size(lines, POSTCARD_SIDE)


@pytest.mark.parametrize("wrong", [["--rounds", "0"], ["--pictures", "0"], ["--every", "0"]])
def test_nothing_to_measure_is_refused(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        bench(["decode", *wrong])
    assert f"{wrong[0]} must be at least 1" in capsys.readouterr().err
