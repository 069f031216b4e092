"""What follows from the figures: every number from its inputs."""

from __future__ import annotations

from typing import Any

from rowcast_bench.transport.derived import (
    bits_per_pixel,
    break_even,
    deviations,
    expectations,
    reversals,
    sustained,
)


def one(way: str, link: str = "loopback", gallery: str = "mini", **more: Any) -> dict[str, Any]:
    figures = {
        "pictures": 3,
        "payload_bytes": 700,
        "link_bytes": 1_000,
        "server_cpu_ms": 20.0,
        "client_cpu_ms": 5.0,
        "generation_ms": 900.0,
        "final_added_ms": 100.0,
        "server_decodes": 0,
    }
    where = {"gallery": gallery, "pace": "20ms" if gallery == "mini" else "recorded"}
    return where | {"link": link, "way": way} | figures | more


GALLERY = {
    "side": 256,
    "rows": 16,
    "cols": 16,
    "codebook_size": 16_384,
    "file_bytes": {"palette uint8": 5_000, "preview int8": 10_000, "full int8": 100_000},
}
RESULTS: dict[str, Any] = {
    "cores": 2,
    "links": {"loopback": {}, "3g": {}},
    "paces": ["recorded", "20ms"],
    "galleries": {"mini": GALLERY},
    "combinations": [
        combination
        for link in ("loopback", "3g")
        for combination in (
            one("tokens_preview", link),
            one("tokens_full", link, final_added_ms=400.0 if link == "3g" else 50.0),
            one("jpeg_end", link, payload_bytes=1_700),
            one("jpeg_8", link, payload_bytes=70_700, link_bytes=40_000, server_cpu_ms=600.0),
        )
    ],
}


def test_a_download_has_paid_when_it_is_less_than_what_was_saved() -> None:
    found = {line["files"]: line for line in break_even(RESULTS)}
    assert found["palette"]["jpeg_end"] == 5
    assert found["palette + preview int8"]["jpeg_end"] == 15
    assert found["palette + preview int8"]["jpeg_8"] == 1
    assert found["palette + smallest preview + full int8"]["download_bytes"] == 115_000


def test_a_server_sends_what_viewers_ask_for_until_its_cores_are_busy() -> None:
    found = {each["way"]: each["pictures"] for each in sustained(RESULTS)}
    assert found["jpeg_8"] == {"1": 60, "8": 200, "32": 200, "128": 200}
    assert found["tokens_preview"] == {"1": 60, "8": 480, "32": 1920, "128": 6000}


def test_expectations_hold_or_not() -> None:
    found = [(each["found"], each["holds"]) for each in expectations(RESULTS)]
    assert found == [(101.0, True), (30.0, False), (2.5, True), (1, True)]


def test_bits_of_ids_and_where_a_decode_is_later_than_a_jpeg() -> None:
    assert bits_per_pixel(RESULTS)["mini"]["ids"] == 0.0547
    assert [each["reversed"] for each in reversals(RESULTS)] == [False, True]


def test_two_runs_differ_by_their_ratios_not_by_the_speed_of_the_machine() -> None:
    first = [one("jpeg_8"), one("tokens_full", server_cpu_ms=10.0)]
    names = ("server_cpu_ms", "client_cpu_ms", "final_added_ms")
    slower = [each | {name: 2 * each[name] for name in names} for each in first]
    assert all(set(each.values()) == {0} for each in deviations(first, slower).values())
    slower[1]["server_cpu_ms"] = 22.0
    assert deviations(first, slower)["server_cpu_ms"]["largest"] == 10.0
