"""Plots of the results, as PNG and SVG: readable in grey, and 390 pixels wide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from .derived import FAST

Results = Mapping[str, Any]
WIDTH, DPI = 3.9, 200  # inches; twice a phone's pixels
SHOWN: Final = (
    "tokens_preview",
    "tokens_full",
    "jpeg_8",
    "webp_8",
    "strips_16",
    "sse_3",
    "jpeg_end",
)
STYLES: Final = (
    ("black", "-", "o"),
    ("0.35", "-", "s"),
    ("black", "--", "^"),
    ("0.35", "--", "v"),
    ("0.55", "-.", "D"),
    ("0.2", ":", "x"),
    ("0.6", ":", "P"),
)
SHORT: Final = {
    "tokens_palette": "tokens: palette",
    "tokens_preview": "tokens: preview",
    "tokens_full": "tokens: full",
    "jpeg_8": "8 JPEGs",
    "jpeg_16": "16 JPEGs",
    "webp_8": "8 WebP",
    "png_8": "8 PNG",
    "avif_8": "8 AVIF",
    "strips_16": "16 strips",
    "sse_3": "SSE, 3 partials",
    "jpeg_end": "JPEG at the end",
    "progressive_end": "progressive, end",
    "poll": "polled JPEG",
}
GALLERY: Final = "mini"


def draw(results: Results, folder: Path) -> list[Path]:
    """Write all plots into ``folder``; their paths."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    look: Any = {
        "font.size": 8,
        "svg.hashsalt": "rowcast",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with pyplot.rc_context(look):
        for name, make in PLOTS.items():
            figure, axes = pyplot.subplots(figsize=(WIDTH, 3.4), layout="constrained")
            make(results, axes)
            for kind, more in (("png", {}), ("svg", {"metadata": {"Date": None}})):
                path = folder / f"{name}.{kind}"
                figure.savefig(path, dpi=DPI, **more)  # type: ignore[arg-type]
                paths.append(path)
            pyplot.close(figure)
    return paths


def _of(results: Results, way: str) -> list[dict[str, Any]]:
    """A way's combinations by link, of the gallery and pace that plots show."""
    return [
        each
        for each in results["combinations"]
        if (each["gallery"], each["pace"], each["way"]) == (GALLERY, FAST[GALLERY], way)
    ]


def _ways(results: Results) -> Sequence[str]:
    return [name for name in SHOWN if _of(results, name)]


def _bars(axes: Any, values: Mapping[str, float], text: str) -> None:
    names = [SHORT[name] for name in values]
    colours = ["black" if name.startswith("tokens") else "0.65" for name in values]
    bars = axes.barh(names[::-1], list(values.values())[::-1], color=colours[::-1], log=True)
    axes.bar_label(bars, [f"{each:,.0f}" for each in [*values.values()][::-1]], padding=2)
    axes.margins(x=0.25)
    axes.set_xlabel(text)


def _bytes(results: Results, axes: Any) -> None:
    _bars(
        axes,
        {name: _of(results, name)[0]["payload_bytes"] for name in results["ways"]},
        "bytes a picture of 256 px, decoders cached",
    )
    axes.set_xlabel(f"bytes a picture, {results['galleries'][GALLERY]['side']} px, decoders cached")


def _cpu(results: Results, axes: Any) -> None:
    _bars(
        axes,
        {name: _of(results, name)[0]["server_cpu_ms"] for name in results["ways"]},
        "server CPU ms a picture, beyond drawing it",
    )


def _lines(results: Results, axes: Any, value: Any, text: str) -> None:
    labels = [
        each["label"].replace(": ", ":\n").replace(", ", ",\n")
        for each in results["links"].values()
    ]
    for name, (colour, line, mark) in zip(_ways(results), STYLES, strict=False):
        found = [max(0.1, value(each)) for each in _of(results, name)]
        axes.plot(
            range(len(found)), found, line, color=colour, marker=mark, ms=4, label=SHORT[name]
        )
    axes.set_yscale("log")
    axes.set_xticks(range(len(labels)), labels, fontsize=6)
    axes.set_title(text, loc="left", fontsize=8)
    axes.legend(fontsize=6, ncols=2, frameon=False)


def _glass(results: Results, axes: Any) -> None:
    _lines(
        results,
        axes,
        lambda each: each["row_to_glass_ms"]["p50"],
        "from a row on the server to its pixels: ms, median",
    )


def _final(results: Results, axes: Any) -> None:
    _lines(
        results,
        axes,
        lambda each: each["final_added_ms"],
        "from the last row to the final picture: ms, median",
    )


def _break_even(results: Results, axes: Any) -> None:
    """Bytes in all after so many pictures, downloads of a first visit included."""
    bytes_of = {name: _of(results, name)[0]["payload_bytes"] for name in results["ways"]}
    sizes = results["galleries"][GALLERY]["file_bytes"]
    preview = sizes["palette uint8"] + sizes["preview int8"]
    lines = {
        "tokens: palette": (sizes["palette uint8"], bytes_of["tokens_preview"]),
        "tokens: + preview int8": (preview, bytes_of["tokens_preview"]),
        "tokens: + full int8": (preview + sizes["full int8"], bytes_of["tokens_preview"]),
        "8 JPEGs": (0, bytes_of["jpeg_8"]),
        "SSE, 3 partials": (0, bytes_of["sse_3"]),
        "JPEG at the end": (0, bytes_of["jpeg_end"]),
    }
    pictures = [round(10 ** (step / 8), 2) for step in range(33)]
    for (name, (first, each)), (colour, line, _) in zip(lines.items(), STYLES, strict=False):
        axes.plot(
            pictures, [(first + each * n) / 1e6 for n in pictures], line, color=colour, label=name
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("pictures of a first visitor")
    axes.set_title("megabytes received in all", loc="left", fontsize=8)
    axes.legend(fontsize=6, frameon=False)


def _quality(results: Results, axes: Any) -> None:
    shown = results["quality"]["postcard"]
    names = [name for name in ("tokens_palette", *SHOWN) if name in shown and name != "tokens_full"]
    for name, (colour, line, mark) in zip(names, STYLES, strict=False):
        found = [each for each in shown[name] if each["psnr_db_rows"] < 100]
        axes.plot(
            [each["rows"] for each in found],
            [each["psnr_db_rows"] for each in found],
            line,
            color=colour,
            marker=mark,
            ms=3,
            label=SHORT[name],
        )
    axes.set_xlabel("rows held, of 16; postcard, 128 px")
    axes.set_title("dB of the final picture's rows, of those shown", loc="left", fontsize=8)
    axes.legend(fontsize=6, frameon=False)


PLOTS: Final = {
    "bytes": _bytes,
    "server-cpu": _cpu,
    "row-to-glass": _glass,
    "final-added": _final,
    "break-even": _break_even,
    "quality": _quality,
}
