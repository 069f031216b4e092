"""The line of a machine, and the rates that it reaches."""

from __future__ import annotations

from pathlib import Path

import pytest
from rowcast_bench import machine
from rowcast_bench.machine import describe, gigaflops, read_gigabytes_per_second


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ("model name\t: A CPU\nflags\t: fpu avx2 avx512f\n\n", "A CPU, 3 cores, AVX-512"),
        ("model name\t: A CPU\nflags\t: fpu avx2\n" * 2, "A CPU, 3 cores, AVX2"),
        ("Features\t: fp asimd\n", "m1, 3 cores, NEON"),
        (None, "m1, 3 cores"),
    ],
)
def test_the_line_of_a_machine(
    told: str | None, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 3)
    monkeypatch.setattr("platform.machine", lambda: "m1")
    if told is not None:
        (tmp_path / "cpuinfo").write_text(told)
    assert describe(tmp_path / "cpuinfo") == wanted


def test_rates_are_of_the_size_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted against a clock that ticks once a reading."""
    ticks = iter(range(1_000))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    assert read_gigabytes_per_second(2, 1 << 20) == pytest.approx(2**20 / 1e9)
    assert gigaflops(1, 64) == pytest.approx(2 * 64**3 / 1e9)
