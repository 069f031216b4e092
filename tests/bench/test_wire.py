"""`rowcast bench wire` counts the bytes that a client receives; times are never tested."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from rowcast.messages import Rows, encode
from rowcast_bench import wire
from rowcast_bench.cli import bench

ROWS = 4  # of the tiny model's pictures


def test_every_figure_is_there_and_bytes_are_those_of_the_frames(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wire, "REPEATS", 10)
    assert bench(["wire", "--model", str(tiny_folder), "--pictures", "2"]) == 0
    printed = capsys.readouterr()
    figures = json.loads(printed.out.splitlines()[-1])
    assert figures["pictures"] == 2
    rows = sum(len(encode(Rows(0, row, bytes(8)))) for row in range(ROWS))
    assert rows < figures["picture_bytes"] <= figures["picture_bytes_max"] < rows + 200
    assert figures["row_frame_bytes"] == 2 + len(encode(Rows(0, 0, bytes(32))))
    id_bytes = 16 * math.log2(96) / 8  # of 96 codes
    assert figures["ids_share"] == pytest.approx(id_bytes / figures["picture_bytes"], abs=2e-3)
    for name in ("ratio_to_final_jpeg", "encode_row_ns", "msgpack_decode_row_ns"):
        assert figures[name] > 0
    assert figures["eight_jpegs_bytes"] > figures["final_jpeg_bytes"]
    assert "stage 1 of 2: drawing 2 pictures" in printed.err
