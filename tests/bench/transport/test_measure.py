"""Figures of pictures that were seen, and those that are computed."""

from __future__ import annotations

import pytest
from rowcast_bench.transport.link import LinkFacts
from rowcast_bench.transport.measure import (
    availability,
    computed,
    frames_of,
    link_bytes,
    seconds_expected,
    summed,
)
from rowcast_bench.transport.receiver import Viewed

ROWS = [1.0, 2.0, 3.0, 4.0]  # when each was there
SLOW = LinkFacts("slow", "1 kB/s, 200 ms", 8_000, 0.2)


def seen(*shown: tuple[int, float, int]) -> Viewed:
    return Viewed(0.5, shown[0][1], list(shown), shown[-1][1], sum(each[2] for each in shown))


def test_each_row_waits_for_the_first_picture_that_shows_it() -> None:
    figures = summed([seen((2, 2.5, 10), (4, 4.25, 30))], [ROWS], 4)
    assert figures["row_to_glass_ms"] == {"p50": 500, "p99": 1500, "p99_9": 1500}
    assert figures["first_row_ms"] == 2000
    assert figures["final_added_ms"] == 250
    assert figures["generation_ms"] == 3500
    assert (figures["pictures"], figures["rows"], figures["payload_bytes"]) == (1, 4, 40)


@pytest.mark.parametrize(
    ("shown", "share"),
    [
        ([(1, 1.0, 0), (2, 2.0, 0), (3, 3.0, 0), (4, 4.0, 0)], 1.0),
        ([(4, 4.0, 0)], 0.0),
        ([(2, 2.0, 0), (4, 4.5, 0)], 4 / 6),
    ],
)
def test_what_is_visible_is_a_share_of_what_was_drawn(
    shown: list[tuple[int, float, int]], share: float
) -> None:
    assert availability(seen(*shown), ROWS) == pytest.approx(share)


def test_frames_have_the_mean_of_their_sizes() -> None:
    both = [seen((2, 2.5, 10), (4, 4.2, 30)), seen((2, 2.5, 20), (4, 4.2, 30))]
    assert frames_of(both) == [[2, 15], [4, 30]]


def test_a_computed_picture_waits_for_the_one_before_it() -> None:
    base = {
        "frames": [[2, 1_000], [4, 2_000]],
        "payload_bytes": 3_000,
        "server_cpu_ms": 1.0,
        "client_cpu_ms": 2.0,
        "final_added_ms": 0.0,
    }
    figures = computed(SLOW, base, [0.1, 0.2, 0.3, 0.4])
    first, second = link_bytes(1_000), link_bytes(2_000)
    assert (first, second) == (1_052, 2_104)
    assert figures["link_bytes"] == first + second
    assert figures["first_row_ms"] == pytest.approx(1e3 * (0.2 + 0.2 + 1.052))
    assert figures["final_added_ms"] == pytest.approx(1e3 * (0.2 + 0.2 + 3.156 - 0.5), abs=0.1)
    assert seconds_expected(SLOW, base, [0.4]) == pytest.approx(link_bytes(3_000) / 1e3 + 0.6)
