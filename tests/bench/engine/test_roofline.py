"""The least that a step can take: bytes and products of a model whose sizes are known."""

from __future__ import annotations

from pathlib import Path

from rowcast_bench.engine.roofline import Work, work_of
from rowcast_server.models.loading import load

WIDTH, GLU, LAYERS, CODES, POSITIONS = 64, 96, 2, 96, 16  # of the tiny model


def test_a_step_reads_each_matrix_once_and_multiplies_it_for_both_streams(
    tiny_folder: Path,
) -> None:
    work = work_of(load(str(tiny_folder)), 1_000)
    square = WIDTH * WIDTH
    of_a_layer = 4 * square + 2 * square + 3 * WIDTH * GLU  # self, text: no keys, no values
    last = CODES * WIDTH
    assert work.weight_bytes == 4 * (LAYERS * of_a_layer + last)
    assert work.cache_bytes == 1_000
    of_one_stream = 4 * square + last  # the first layer's attention, and the last product
    of_both = 2 * (LAYERS * of_a_layer - 4 * square)
    attention = (1 + 2) * 2 * POSITIONS * WIDTH
    assert work.multiply_adds == of_one_stream + of_both + attention


def test_the_longer_of_reading_and_multiplying_counts() -> None:
    work = Work(weight_bytes=10**9, cache_bytes=10**8, multiply_adds=10**9)
    assert work.seconds(1, gigabytes=11.0, gigaflops=1e6) == 0.1
    assert work.seconds(10, gigabytes=1e6, gigaflops=100.0) == 0.2
