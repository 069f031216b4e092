"""Tables of what follows from the figures: break-even, cost, expectations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..markdown import table
from .plots import SHORT

Results = Mapping[str, Any]


def first_visit(results: Results) -> str:
    """Seconds that links need for a first visit's files."""
    shown = ("palette uint8", "preview int8", "preview fp16", "full int8", "full fp16", "full fp32")
    lines = [
        [results["links"][each["link"]]["label"], *(f"{each[name]:,.1f}" for name in shown)]
        for each in results["derived"]["first_visit"]
        if each["gallery"] == "mini"
    ]
    return table(["seconds, computed", *shown], lines)


def break_even(results: Results) -> str:
    """Pictures until downloads have paid."""
    lines = [
        [
            results["galleries"][each["gallery"]]["label"],
            each["files"],
            f"{each['download_bytes'] / 1e6:,.2f}",
            *("never" if each[way] is None else f"{each[way]:,}" for way in ("jpeg_end", "jpeg_8")),
        ]
        for each in results["derived"]["break_even"]
    ]
    head = ["pictures", "files downloaded", "MB", "against one JPEG", "against 8 JPEGs"]
    return table(head, lines)


def cost(results: Results) -> str:
    """Decoding of a thousand pictures on a server's GPU."""
    told = results["derived"]["cost"]
    lines = [
        [
            SHORT[way],
            f"{each['decodes']:g}",
            f"{each['gpu_seconds']:.4f}",
            f"{each['price_of_1000']:.4f}",
        ]
        for way, each in told["ways"].items()
    ]
    return (
        f"With a GPU of {told['price_an_hour']:g} an hour that decodes at {told['tflops']:g} "
        f"TFLOP/s (assumptions: put in yours),\n"
        f"1000 × decodes × {told['gflop_a_decode']:g} GFLOP ÷ rate × price:\n\n"
        + table(["", "decodes a picture", "GPU seconds", "price of 1000 pictures"], lines)
    )


def energy(results: Results) -> str:
    """Joules of a picture, on both sides."""
    told = results["derived"]["energy"]
    joules = {(each["gallery"], each["way"]): each for each in told["joules"]}
    lines = []
    for way in results["ways"]:
        found = [joules[gallery, way] for gallery in ("postcard", "mini")]
        cells = [f"{each[side]:,.2f}" for side in ("server", "client") for each in found]
        lines.append([SHORT[way], *cells])
    small, large = (results["galleries"][name]["side"] for name in ("postcard", "mini"))
    head = [f"joules at {told['watts_a_core']:g} W a core", f"server, {small} px", f"{large} px"]
    return table([*head, f"viewer, {small} px", f"{large} px"], lines)


def grids(results: Results) -> str:
    """Mini, Mega and a larger grid."""
    lines = [
        [
            name,
            f"{each['pixels']} px",
            f"{each['tokens_bytes']:,}",
            f"{each['jpeg_bytes']:,}",
            f"{each['eight_jpegs_bytes']:,}",
            f"{each['eight_jpegs_bytes'] / each['tokens_bytes']:.0f}",
            f"{each['gflop_a_decode']:,}",
        ]
        for name, each in results["derived"]["cost"]["grids"].items()
    ]
    head = ["", "side", "tokens, bytes", "one JPEG", "8 JPEGs", "times tokens", "GFLOP a decode"]
    return table(head, lines)


def bpp(results: Results) -> str:
    """Bits per pixel."""
    lines = [
        [results["galleries"][name]["label"], *(f"{value:.4f}" for value in each.values())]
        for name, each in results["derived"]["bits_per_pixel"].items()
    ]
    head = ["bits a pixel", "ids alone", "our frames", "one JPEG", "8 JPEGs"]
    return table(head, lines)


def expectations(results: Results) -> str:
    """Expected before, found, and whether it holds."""
    lines = [
        [each["what"], each["expected"], f"{each['found']:,}", "yes" if each["holds"] else "**no**"]
        for each in results["derived"]["expectations"]
    ]
    return table(["", "expected", "found", "holds"], lines)


def reversals(results: Results) -> str:
    """Where the client's decode is later than a JPEG at the end."""
    lines = [
        [
            results["galleries"][each["gallery"]]["label"],
            each["pace"],
            results["links"][each["link"]]["label"],
            f"{each['tokens_full_ms']:,.0f}",
            f"{each['jpeg_end_ms']:,.0f}",
            "JPEG" if each["reversed"] else "tokens",
        ]
        for each in results["derived"]["reversals"]
    ]
    head = ["pictures", "pace", "link", "tokens, full: ms", "JPEG at the end: ms", "sooner"]
    costs = {
        each["label"]: each["decode_costs"][-1]["ms"] for each in results["galleries"].values()
    }
    told = " and ".join(f"{ms:,.0f} ms ({label})" for label, ms in costs.items())
    return (
        f"{table(head, lines)}\n\nA server decodes before it has a JPEG: that takes "
        f"{told} here, on two threads. It is in\nthe times of the first, not of the second, whose "
        f"server is thought to have a GPU."
    )


def repeatability(results: Results) -> str:
    """Differences between two runs."""
    told = results["repeatability"]
    if told is None:
        return "Nothing was measured twice in this run."
    lines = [
        [name, f"{each['median']:.1f} %", f"{each['largest']:.1f} %"] for name, each in told.items()
    ]
    head = ["ratio to 8 JPEGs of", "difference of two passes on 3G, median", "largest"]
    return table(head, lines)
