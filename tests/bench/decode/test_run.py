"""`rowcast bench decode` measures what it says; the figures themselves are never tested."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console
from rowcast.errors import RowcastError
from rowcast_bench import decode as package
from rowcast_bench.cli import bench
from rowcast_bench.decode import run as decode
from rowcast_bench.decode.files import DecoderFiles
from rowcast_bench.decode.sheet import sheet_size
from rowcast_bench.progress import Progress

POSTCARD_SIDE = 128


def test_every_figure_is_there_and_a_sheet_to_look_at(
    tiny_files: DecoderFiles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(decode, "write_random", lambda shape, folder, tell: tiny_files)
    figures, told = quick_figures(tmp_path / "sheet.png", capsys, "--pictures", "1")
    assert palette_bytes(figures) == tiny_files.sizes["palette", "uint8"]
    assert "1 held-out pictures" in " ".join(told.split())
    assert "stage 7 of 7: the client's last images" in told


@pytest.mark.parity
@pytest.mark.timeout(600)
def test_a_random_decoder_is_traced_and_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures, _ = quick_figures(tmp_path / "sheet.png", capsys)
    assert palette_bytes(figures) == 128 + 3 * 4 * 4 * 16_384
    counted = figures["schemes"]["rows_so_far"]["total_full_decodes_counted"]
    assert counted == pytest.approx(8.5, abs=0.1)  # little attention: 1 + 2 + … + 16 rows of 16


def palette_bytes(figures: dict[str, Any]) -> int:
    size: int = figures["schemes"]["palette"]["bytes"]["uint8"]
    return size


def quick_figures(
    sheet: Path, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[dict[str, Any], str]:
    """Run it briefly, check all that holds of any decoder; the figures, and what was told."""
    assert bench(["decode", "--quick", "--threads", "1", "--sheet", str(sheet), *options]) == 0
    printed = capsys.readouterr()
    figures: dict[str, Any] = json.loads(printed.out.splitlines()[-1])
    assert figures["quick"] is True
    assert figures["final_equal"] is True
    schemes = figures["schemes"]
    assert schemes["full"]["psnr_db_of_final"] > schemes["rows_so_far"]["psnr_db_of_final"]
    assert schemes["full"]["update_gflop_worst"] == figures["full_gflop"]
    assert 0 < figures["full_compute_share"] < 2
    names = {"palette", "preview", "full", "rows_so_far", "whole_grid"}
    assert schemes.keys() == names
    assert 8 < schemes["rows_so_far"]["total_full_decodes_counted"] < 8.6
    with Image.open(sheet) as image:
        lines = len([each for each in schemes.values() if "psnr_db" in each])
        assert image.size == sheet_size(lines, POSTCARD_SIDE)
    return figures, printed.out + printed.err


@pytest.mark.parametrize("wrong", [["--rounds", "0"], ["--pictures", "0"], ["--threads", "0"]])
def test_nothing_to_measure_is_refused(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        bench(["decode", *wrong])
    assert f"{wrong[0]} must be at least 1" in capsys.readouterr().err


def test_a_peer_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ModuleNotFoundError("the peer is not installed", name="min_dalle")

    monkeypatch.setattr(decode, "min_dalle_scheme", missing)
    text = io.StringIO()
    with Progress(Console(file=text, width=100), [decode.PEER]) as progress:
        assert decode.min_dalle(progress) is None
    assert "min-dalle is left out: the peer is not installed" in text.getvalue()


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rowcast_bench.decode.run", None)
    monkeypatch.delattr(package, "run", raising=False)
    with pytest.raises(RowcastError, match=r"needs rowcast_bench\.decode\.run: .*pip install"):
        bench(["decode"])
