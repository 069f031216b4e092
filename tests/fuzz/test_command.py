"""`python -m tests.fuzz`: of a fault there are a file, and the command that repeats it."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.fuzz.__main__ import ROOT, main
from tests.fuzz.engines import ENGINES, has_atheris

FAULTY = "tests.support.faulty_targets"
TOLD = {
    "fails": (1, 0, "ValueError: more than three bytes"),
    "hangs": (0, 1, "longer than 1.5 s"),
    "ends": (1, 0, "the process ended with -11"),
}


@pytest.mark.parametrize("name", TOLD)
def test_a_fault_is_written_to_a_file_and_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [f"{FAULTY}:{name}", "--engine", "plain", "--minutes", "0.5", "--json", "report"]
    assert main(words) == 1
    (report,) = json.loads(Path("report").read_text())
    crashes, hangs, told = TOLD[name]
    assert (report["crashes"], report["hangs"]) == (crashes, hangs)
    assert told in report["told"]
    assert report["runs"] > 1
    data = Path(report["fault"]).read_bytes()
    assert len(data) > 3
    shown = capsys.readouterr().out
    command = shlex.split(shown.splitlines()[-1])
    assert command[-3:] == [f"{FAULTY}:{name}", "--input", report["fault"]]
    if name == "fails":
        with pytest.raises(ValueError, match="more than three"):
            main(command[3:])


@pytest.mark.parametrize("engine", ENGINES if has_atheris() else ["plain"])
def test_a_target_without_a_fault_reports_what_was_tried(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["palette", "--engine", engine, "--runs", "500", "--seed", "1", "--minutes", "0.5"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "palette" in shown
    assert engine in shown
    assert "crashes 0  hangs 0" in shown
    assert not Path("fuzz-faults").exists()


def test_a_target_that_there_is_not_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["pallette"])
    assert "there is no target 'pallette'; there are decode_client," in capsys.readouterr().err


def test_make_fuzz_runs_it() -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "fuzz", "TARGET=palette", "MINUTES=3"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert shown.splitlines()[-1].endswith("python -m tests.fuzz palette --minutes 3")
