"""The figures of docs/bandwidth-vs-latency.md, and the report in the terminal, from the JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..markdown import table
from . import derived_tables as follows
from . import visits
from .derived import FAST, VIEWERS
from .plots import SHORT

Results = Mapping[str, Any]
BLOCK: Final = re.compile(
    r"(?<=^<!-- figures: transport_)(\w+) -->\n(.*?)(?=^<!-- end -->$)", re.DOTALL | re.MULTILINE
)


def page(results: Results, text: str) -> str:
    """A document whose blocks are those of these results."""
    return BLOCK.sub(lambda match: f"{match[1]} -->\n{BLOCKS[match[1]](results)}\n", text)


def report(results: Results) -> str:
    """All blocks, one after the other."""
    return "\n\n".join(make(results) for make in BLOCKS.values())


def _of(results: Results, gallery: str, way: str) -> list[dict[str, Any]]:
    pace = FAST[gallery]
    return [
        each
        for each in results["combinations"]
        if (each["gallery"], each["pace"], each["way"]) == (gallery, pace, way)
    ]


def _first(results: Results, gallery: str, way: str) -> dict[str, Any]:
    return _of(results, gallery, way)[0]


def _label(results: Results, way: str) -> str:
    found: str = results["ways"][way]["label"]
    return found


def answer(results: Results) -> str:
    """The answer in a few sentences."""
    links, side = results["links"], results["galleries"]["mini"]["side"]
    link = "3g" if "3g" in links else next(iter(links))
    ours, full, eight, end = (
        next(each for each in _of(results, "mini", way) if each["link"] == link)
        for way in ("tokens_preview", "tokens_full", "jpeg_8", "jpeg_end")
    )
    glass = [each["row_to_glass_ms"]["p50"] for each in (ours, eight)]
    paid = {
        each["files"]: each
        for each in results["derived"]["break_even"]
        if each["gallery"] == "mini"
    }
    small, large = paid["palette + preview int8"], paid["palette + smallest preview + full int8"]
    later = full["final_added_ms"] > end["final_added_ms"]
    return (
        f"- **Bandwidth.** A picture of {side} px is {ours['payload_bytes']:,} bytes as rows of "
        f"tokens, {eight['payload_bytes']:,} as 8 JPEGs\n"
        f"  ({eight['payload_bytes'] / ours['payload_bytes']:.0f} times), "
        f"{end['payload_bytes']:,} as one JPEG at the end "
        f"({end['payload_bytes'] / ours['payload_bytes']:.0f} times).\n"
        f"- **Latency.** On {links[link]['label']}, a row is pixels {glass[0]:,.0f} ms after it is "
        f"drawn, of 8 JPEGs after {glass[1]:,.0f} (medians).\n"
        f"- **The server** spends {ours['server_cpu_ms']:,.0f} ms of CPU on a picture's tokens, "
        f"{eight['server_cpu_ms']:,.0f} on 8 JPEGs.\n"
        f"- **The price** is the decoder: a first visitor's palette and int8 preview have paid for "
        f"themselves after\n"
        f"  {small['jpeg_8']:,} pictures against 8 JPEGs, {small['jpeg_end']:,} against one; with "
        f"the full decoder in int8 after {large['jpeg_8']:,} and {large['jpeg_end']:,}.\n"
        f"- **The viewer's CPU** paints the final picture with the full decoder "
        f"{full['final_added_ms']:,.0f} ms after the last row, on one core here;\n"
        f"  the JPEG at the end is there after {end['final_added_ms']:,.0f} ms, its server's "
        f"decode not counted: "
        + ("the client's decode reverses the result." if later else "tokens are sooner even so.")
        + "\n\nFor other numbers of pictures, links, prices and decoders there is a calculator with"
        " these figures,\nat `/cost` of any running server: "
        "[what it costs, by your numbers](browser.md#what-it-costs)."
    )


def conditions(results: Results) -> str:
    """Machine, versions, command, and what was shown."""
    versions = ", ".join(f"{name} {each}" for name, each in results["versions"].items())
    kinds = [each["kind"] for each in results["combinations"]]
    links = {"tun": "a user-space link (TUN) between two network namespaces", "none": "no link"}
    pace = results["galleries"]["postcard"]["paces"].get("recorded", [0.0])
    lines = [
        f"- `{results['command']}`, {results['seconds'] / 60:.0f} minutes, on {results['machine']}"
        f" ({results['gigaflops']:.0f} GFLOP/s);",
        f"  load before it {results['load_before']}. Links by {links[results['link_kind']]}.",
        f"- {versions}.",
        f"- {len(kinds)} combinations of pictures, pace, link and way, of which "
        f"{kinds.count('computed')} are computed from bytes and link.",
        f"- postcard drew a row each {1e3 * pace[-1] / len(pace):.0f} ms here; that is its pace in "
        "every way.",
    ]
    if results["not_run"]:
        lines.append(f"- No shaped links: {results['not_run']}.")
    return "\n".join(lines)


def sizes(results: Results) -> str:
    """Bytes of a picture by way."""
    lines = []
    for way in results["ways"]:
        cells: list[object] = [_label(results, way)]
        for gallery in ("postcard", "mini"):
            size = _first(results, gallery, way)["payload_bytes"]
            ours = _first(results, gallery, "tokens_preview")["payload_bytes"]
            cells += [f"{size:,}", f"{size / ours:.1f}"]
        over = [each for each in _of(results, "mini", way) if each["link"] == "3g"]
        cells.append(f"{over[0]['link_bytes']:,}" if over else "")
        lines.append(cells)
    sides = [results["galleries"][name]["side"] for name in ("postcard", "mini")]
    head = ["bytes down a picture"]
    for side in sides:
        head += [f"{side} px", "times tokens"]
    return table([*head, f"{sides[1]} px, packets on 3G"], lines)


def files(results: Results) -> str:
    """Bytes of code and files of a first visit."""
    lines = []
    names = dict.fromkeys(
        name for each in results["galleries"].values() for name in each["file_bytes"]
    )
    for name in names:
        cells = [each["file_bytes"].get(name) for each in results["galleries"].values()]
        lines.append([name, *("" if size is None else f"{size:,}" for size in cells)])
    labels = [each["label"] for each in results["galleries"].values()]
    text = table(["bytes of a first visit", *labels], lines)
    if results["page_bytes"] is None:
        return text
    told = results["page_bytes"]
    return (
        f"{text}\n\nThe server's page is {told['page']:,} bytes of code, compressed; the runtime "
        f"that its full decoder\nneeds, {told['onnxruntime']:,}. A return visit loads none of this."
    )


def _by_link(results: Results, gallery: str, cell: Callable[[dict[str, Any]], str]) -> str:
    labels = [each["label"].split(":")[0] for each in results["links"].values()]
    lines = []
    for way in results["ways"]:
        found = {each["link"]: each for each in _of(results, gallery, way)}
        marks = {name: "*" if each["kind"] == "computed" else "" for name, each in found.items()}
        lines.append([SHORT[way], *(cell(found[n]) + marks[n] for n in results["links"])])
    return table(["ms", *labels], lines)


def glass(results: Results) -> str:
    """Row-to-glass of the 256 px pictures: median and p99."""
    return _by_link(
        results,
        "mini",
        lambda each: (
            f"{each['row_to_glass_ms']['p50']:,.0f} ({each['row_to_glass_ms']['p99']:,.0f})"
        ),
    )


def first_row(results: Results) -> str:
    """Time to the first visible row."""
    return _by_link(results, "mini", lambda each: f"{each['first_row_ms']:,.0f}")


def final(results: Results) -> str:
    """Time to the final picture, added to the generation."""
    return _by_link(results, "mini", lambda each: f"{each['final_added_ms']:,.0f}")


def final_postcard(results: Results) -> str:
    """The same of postcard's pictures, whose decodes are all in the times."""
    return _by_link(results, "postcard", lambda each: f"{each['final_added_ms']:,.0f}")


def cpu(results: Results) -> str:
    """CPU of both sides, availability, and pictures a minute."""
    rates = {
        (each["gallery"], each["pace"], each["way"]): each["pictures"]
        for each in results["derived"]["sustained"]
    }
    lines = []
    for way in results["ways"]:
        each = _first(results, "mini", way)
        pictures = rates["mini", FAST["mini"], way]
        lines.append(
            [
                SHORT[way],
                f"{_first(results, 'postcard', way)['server_cpu_ms']:,.0f}",
                f"{each['server_cpu_ms']:,.0f}",
                f"{each['server_decodes']:g}",
                f"{each['client_cpu_ms']:,.0f}",
                *(f"{pictures[str(n)]:,.0f}" for n in VIEWERS),
            ]
        )
    sides = [results["galleries"][name]["side"] for name in ("postcard", "mini")]
    head = ["", f"server CPU ms, {sides[0]} px", f"{sides[1]} px", "server's decodes"]
    head += [f"client CPU ms, {sides[1]} px", f"pictures a minute, {VIEWERS[0]} viewer"]
    return table([*head, *map(str, VIEWERS[1:])], lines)


def availability(results: Results) -> str:
    """The share of drawn rows that is visible while the picture forms."""
    labels = [each["label"].split(":")[0] for each in results["links"].values()]
    lines = []
    for way in results["ways"]:
        found = {each["link"]: each for each in _of(results, "mini", way)}
        lines.append([SHORT[way], *(f"{found[n]['availability']:.0%}" for n in results["links"])])
    return table(["visible of what is drawn", *labels], lines)


def quality(results: Results) -> str:
    """Quality at a quarter, half and all of the rows, of postcard's pictures."""
    lines = []
    for way, shown in results["quality"]["postcard"].items():
        rows = {each["rows"]: each for each in shown}
        last = max(rows)
        cells: list[object] = [SHORT[way]]
        for held in (last // 4, last // 2, last):
            each = rows.get(held)
            cells.append(f"{each['psnr_db_rows']:.1f}, {each['ssim']:.3f}" if each else "")
        lines.append(cells)
    return table(["dB of rows shown, SSIM of the whole", "a quarter", "half", "final"], lines)


def in_browser(results: Results) -> str:
    """Visits of the page."""
    if results["visits_not_run"]:
        return f"Not measured in this run: {results['visits_not_run']}."
    head = ["link", "pictures", "visit", "form ready, ms", "first row, ms"]
    head += ["whole after last row, ms", "row to glass, median ms", "bytes down"]
    return table(head, visits.rows_of(results))


BLOCKS: Final[dict[str, Callable[[Results], str]]] = {
    "answer": answer,
    "conditions": conditions,
    "bytes": sizes,
    "files": files,
    "first_visit": follows.first_visit,
    "glass": glass,
    "first_row": first_row,
    "final": final,
    "final_postcard": final_postcard,
    "visits": in_browser,
    "availability": availability,
    "cpu": cpu,
    "quality": quality,
    "break_even": follows.break_even,
    "energy": follows.energy,
    "cost": follows.cost,
    "grids": follows.grids,
    "bpp": follows.bpp,
    "expectations": follows.expectations,
    "reversals": follows.reversals,
    "repeatability": follows.repeatability,
}
