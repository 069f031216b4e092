"""Figures that follow from measured ones: break-even, server cost, viewers, expectations.

Every function takes the results as they stand in the JSON, and gives numbers with the inputs that
they come from, so that a reader can put in others.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any, Final

Results = Mapping[str, Any]
Deviations = dict[str, dict[str, float]]
VIEWERS: Final = (1, 8, 32, 128)
GPU: Final = {"price_an_hour": 2.0, "tflops": 100.0}  # the reader sets both
WATTS_A_CORE: Final = 5.0  # the reader sets it: a laptop's core under load takes some 5 to 15
FAST: Final = {"mini": "20ms", "postcard": "recorded"}  # the pace that tables are of
HEADS: Final = 52 / 1448  # of a full packet: IPv4 and TCP with timestamps, over what it carries
TOKENS: Final = "tokens_preview"
EIGHT: Final = "jpeg_8"


def combination(results: Results, gallery: str, pace: str, link: str, way: str) -> dict[str, Any]:
    """The figures of one combination. Raises KeyError where there is none."""
    wanted = {"gallery": gallery, "pace": pace, "link": link, "way": way}
    for each in results["combinations"]:
        if all(each[name] == value for name, value in wanted.items()):
            found: dict[str, Any] = each
            return found
    raise KeyError(wanted)


def derive(results: Results) -> dict[str, Any]:
    """All that follows."""
    return {
        "break_even": break_even(results),
        "first_visit": first_visit(results),
        "sustained": sustained(results),
        "cost": cost(results),
        "energy": energy(results),
        "bits_per_pixel": bits_per_pixel(results),
        "expectations": expectations(results),
        "reversals": reversals(results),
    }


def _payload(results: Results, gallery: str, way: str) -> int:
    first = next(iter(results["links"]))
    pace = FAST[gallery] if FAST[gallery] in results["paces"] else next(iter(results["paces"]))
    found: int = combination(results, gallery, pace, first, way)["payload_bytes"]
    return found


def break_even(results: Results) -> list[dict[str, Any]]:
    """Pictures after which downloads have paid for themselves: download / (other - tokens), up.

    None where the other way has no more bytes than tokens.
    """
    lines = []
    for gallery, told in results["galleries"].items():
        sizes = told["file_bytes"]
        ours = _payload(results, gallery, TOKENS)
        small = sizes["palette uint8"]
        choices = {"palette": small}
        for name, size in sizes.items():
            kind, _, precision = name.partition(" ")
            if kind == "preview":
                choices[f"palette + preview {precision}"] = small + size
            if kind == "preview_weights":
                choices[f"palette + preview {precision} (browser)"] = small + size
        preview = min(size for name, size in choices.items() if name != "palette")
        for name, size in sizes.items():
            if name.startswith("full "):
                choices[f"palette + smallest preview + {name}"] = preview + size
        for name, download in choices.items():
            line: dict[str, Any] = {"gallery": gallery, "files": name, "download_bytes": download}
            for way in ("jpeg_end", EIGHT):
                saved = _payload(results, gallery, way) - ours
                line[way] = math.ceil(download / saved) if saved > 0 else None
            lines.append(line)
    return lines


def first_visit(results: Results) -> list[dict[str, Any]]:
    """Seconds that a link needs for the files of a first visit, alone on it: a round trip, and
    bytes with the heads of their packets / rate, lost ones once more. Computed, no slow start."""
    lines = []
    for link, facts in results["links"].items():
        if not facts["rate"]:
            continue
        for gallery, told in results["galleries"].items():
            line: dict[str, Any] = {"gallery": gallery, "link": link}
            for name, size in told["file_bytes"].items():
                carried = size * (1 + HEADS) / (1 - facts["loss"])
                line[name] = round(facts["round_trip"] + 8 * carried / facts["rate"], 2)
            lines.append(line)
    return lines


def sustained(results: Results) -> list[dict[str, Any]]:
    """Pictures a minute of one server by viewers, each with pictures of its own: the least of what
    they can ask for, viewers x 60 / generation, and of what its cores can send,
    cores x 60 / CPU seconds of a picture. Drawing is not counted. Computed from measured CPU."""
    first, cores, lines = next(iter(results["links"])), results["cores"], []
    for each in results["combinations"]:
        if each["link"] != first:
            continue
        most = cores * 60e3 / each["server_cpu_ms"]
        asked = 60e3 / (each["generation_ms"] + max(0.0, each["final_added_ms"]))
        pictures = {str(n): round(min(n * asked, most), 1) for n in VIEWERS}
        lines.append(
            {name: each[name] for name in ("gallery", "pace", "way")} | {"pictures": pictures}
        )
    return lines


def cost(results: Results) -> dict[str, Any]:
    """Decoding a thousand pictures on a server's GPU: 1000 x decodes x GFLOP / rate x price."""
    ways = {}
    gflop = results["galleries"]["mini"]["gflop_a_decode"]
    first = next(iter(results["links"]))
    for each in results["combinations"]:
        if each["link"] == first and each["gallery"] == "mini" and each["pace"] == FAST["mini"]:
            seconds = each["server_decodes"] * gflop / (GPU["tflops"] * 1e3)
            ways[each["way"]] = {
                "decodes": each["server_decodes"],
                "gpu_seconds": round(seconds, 5),
                "price_of_1000": round(1000 * seconds / 3600 * GPU["price_an_hour"], 4),
            }
    grids = {}
    for name, grid in results["grids"].items():
        share = grid["side"] ** 2 / 16**2  # attention's growth, a little more, is left out
        grids[name] = {**grid, "gflop_a_decode": round(gflop * share, 1)}
    return {**GPU, "gflop_a_decode": gflop, "ways": ways, "grids": grids}


def energy(results: Results) -> dict[str, Any]:
    """Joules of a picture by CPU time, CPU seconds x watts a core: beyond drawing, on both
    sides."""
    first, lines = next(iter(results["links"])), []
    for each in results["combinations"]:
        if each["link"] == first and each["pace"] == FAST[each["gallery"]]:
            line = {name: each[name] for name in ("gallery", "way")}
            for side in ("server", "client"):
                line[side] = round(each[f"{side}_cpu_ms"] / 1e3 * WATTS_A_CORE, 3)
            lines.append(line)
    return {"watts_a_core": WATTS_A_CORE, "joules": lines}


def bits_per_pixel(results: Results) -> dict[str, dict[str, float]]:
    """Bits of a whole picture by pixel: the ids alone, our frames, and pictures."""
    found = {}
    for gallery, told in results["galleries"].items():
        pixels = told["side"] ** 2
        ids = told["rows"] * told["cols"] * math.log2(told["codebook_size"])
        line = {"ids": round(ids / pixels, 4)}
        for way in (TOKENS, "jpeg_end", EIGHT):
            line[way] = round(8 * _payload(results, gallery, way) / pixels, 4)
        found[gallery] = line
    return found


def expectations(results: Results) -> list[dict[str, Any]]:
    """What was expected before measuring, the number found, and whether it holds."""
    first = next(iter(results["links"]))
    ours = combination(results, "mini", FAST["mini"], first, TOKENS)
    eight = combination(results, "mini", FAST["mini"], first, EIGHT)
    lines = [
        _line(
            "8 JPEGs' bytes over tokens', 256 px, return visits",
            eight["payload_bytes"] / ours["payload_bytes"],
            least=100,
        ),
        _line(
            "8 JPEGs' server CPU over tokens', 256 px",
            eight["server_cpu_ms"] / ours["server_cpu_ms"],
            least=50,
        ),
    ]
    if "3g" in results["links"]:
        over = [combination(results, "mini", FAST["mini"], "3g", way) for way in (TOKENS, EIGHT)]
        share = 100 * over[0]["link_bytes"] / over[1]["link_bytes"]
        shared = f"{over[0]['pictures']} pictures a connection"  # whose opening is counted too
        what = f"serialisation on 3G, tokens' in % of 8 JPEGs', {shared}"
        lines.append(_line(what, share, most=5))
    for line in break_even(results):
        if line["gallery"] == "mini" and line["files"] == "palette + preview int8":
            what = "pictures until palette + int8 preview pay against 8 JPEGs"
            lines.append(_line(what, line[EIGHT], most=30))
    return lines


def _line(what: str, found: float, least: float = -math.inf, most: float = math.inf) -> Any:
    bar = f"at least {least:g}" if least > -math.inf else f"at most {most:g}"
    return {
        "what": what,
        "expected": bar,
        "found": round(found, 1),
        "holds": least <= found <= most,
    }


def reversals(results: Results) -> list[dict[str, Any]]:
    """Where one JPEG at the end is a final picture sooner than tokens with the full decoder."""
    lines = []
    for each in results["combinations"]:
        if each["way"] != "tokens_full":
            continue
        gallery, pace, link = where = [each[name] for name in ("gallery", "pace", "link")]
        other = combination(results, gallery, pace, link, "jpeg_end")
        lines.append(
            {
                **dict(zip(("gallery", "pace", "link"), where, strict=True)),
                "tokens_full_ms": each["final_added_ms"],
                "jpeg_end_ms": other["final_added_ms"],
                "reversed": each["final_added_ms"] > other["final_added_ms"],
            }
        )
    return lines


def deviations(first: list[dict[str, Any]], again: list[dict[str, Any]]) -> Deviations:
    """The difference, in %, between two runs of the ratio of each way's figure to that of 8 JPEGs,
    by figure: the median of all combinations, and the largest."""
    found = {}
    for name in ("payload_bytes", "server_cpu_ms", "client_cpu_ms", "final_added_ms"):
        differences = []
        for one in first:
            base = _like(first, one, EIGHT), _like(again, one, EIGHT)
            other = _like(again, one, one["way"])
            ratios = one[name] / base[0][name], other[name] / base[1][name]
            differences.append(100 * abs(ratios[1] / ratios[0] - 1))
        median, largest = statistics.median(differences), max(differences)
        found[name] = {"median": round(median, 1), "largest": round(largest, 1)}
    return found


def _like(run: list[dict[str, Any]], one: Mapping[str, Any], way: str) -> dict[str, Any]:
    where = ("gallery", "pace", "link")
    return next(
        each for each in run if each["way"] == way and all(each[n] == one[n] for n in where)
    )
