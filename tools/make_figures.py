"""The figures in the documents: each block stands between comments and comes from a command.

python tools/make_figures.py                 # all of them, about 20 minutes on two cores
python tools/make_figures.py wire model      # some

A block NAME stands between the lines <!-- figures: NAME --> and <!-- end --> of README.md or of a
page in docs/.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from rowcast_bench.scaling import page as scaling_page
from rowcast_bench.transport import page, plots

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?<=^<!-- figures: )(\w+) -->\n(.*?)(?=^<!-- end -->$)", re.DOTALL | re.MULTILINE
)
RESULTS = ROOT / "training/results.json"
MEASURED = ROOT / "docs/measured"
TRANSPORT = ROOT / "bench/results/transport.json"
SCALING = ROOT / "bench/results/scaling.json"
DEMO_RUNS = 7
PROMPT = "sunset over a meadow, a red house on the left, a yellow balloon on the right"
Figures = dict[str, Any]


def output_of(*arguments: str) -> tuple[str, Figures]:
    """Run a `rowcast` command: its output up to the last line, and that line, which is JSON."""
    command = [sys.executable, "-m", "rowcast", *arguments]
    print("running: rowcast", *arguments, file=sys.stderr)
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    text, _, last = run.stdout.strip().rpartition("\n")
    figures: Figures = json.loads(last)
    return text, figures


def report(*arguments: str) -> str:
    """The report of a benchmark, as it prints it."""
    text, _ = output_of("bench", *arguments)
    return text


def demo() -> str:
    """The median of some runs: start-up is not counted, the rest is from `start`."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            output_of("demo", PROMPT, "--seed", str(seed), "--out", folder, "--json")[1]
            for seed in range(DEMO_RUNS)
        ]
    runs.sort(key=lambda run: float(run["total_s"]))
    middle = runs[len(runs) // 2]
    shares = sorted(run["first_row_s"] / run["total_s"] for run in runs)
    return f"""\
`rowcast demo --json`, the median of {DEMO_RUNS} runs: a picture takes {middle["total_s"]:.2f} s from `start`,
its first row is on the canvas after {middle["first_row_s"] * 1000:.0f} ms ({shares[0]:.1%} to \
{shares[-1]:.1%} of the time), and {middle["bytes_received"]}
bytes are received."""


def model() -> str:
    """From what `python -m training.evaluate` wrote."""
    results = json.loads(RESULTS.read_text("utf-8"))
    return f"""\
`python -m training.evaluate`: {results["prompts"]} prompts of combinations that no training picture has, \
read by a
classifier trained on renders ({results["classifier"]["mean"]:.1%} right there): {results["overall"]:.1%} of \
the named attributes are in the
picture, of the worst kind ({results["worst_kind"]}) {results["worst"]:.1%}; the tokenizer alone keeps \
{results["vqgan_psnr"]:.1f} dB."""


def gpu() -> str:
    """What `rowcast bench engine --device cuda` printed elsewhere: the machine here has no GPU."""
    outputs = (path.read_text("utf-8").strip() for path in sorted(MEASURED.glob("*.txt")))
    return "\n\n".join(text.rpartition("\n")[0] for text in outputs)


def transport(name: str) -> str:
    """A block of the committed results of `rowcast bench transport`; the first has the plots drawn."""
    results = json.loads(TRANSPORT.read_text("utf-8"))
    if name == "conditions":
        plots.draw(results, ROOT / "docs/bandwidth-vs-latency")
    return page.BLOCKS[name](results)


def scaling(name: str) -> str:
    """A block of the committed results of `rowcast bench scaling`."""
    return scaling_page.BLOCKS[name](json.loads(SCALING.read_text("utf-8")))


BLOCKS: dict[str, Callable[[], str]] = {
    "sizes": partial(report, "export"),
    "viewer": partial(report, "first-paint"),
    "loading": partial(report, "loading"),
    "wire": partial(report, "wire"),
    "demo": demo,
    "engine": partial(report, "engine"),
    "decode": partial(report, "decode", "--sheet", "docs/decode-sheet.png"),
    "fillers": partial(report, "decode", "--fillers"),
    "model": model,
    "gpu": gpu,
    **{f"transport_{name}": partial(transport, name) for name in page.BLOCKS},
    **{f"scaling_{name}": partial(scaling, name) for name in scaling_page.BLOCKS},
}


def names_in(document: Path) -> list[str]:
    """The names of the blocks of a document, in order."""
    return [match[1] for match in BLOCK.finditer(document.read_text("utf-8"))]


def write(name: str, content: str, documents: Iterable[Path] = DOCUMENTS) -> list[Path]:
    """Put ``content`` into every block of that name; the documents that have one."""

    def written(match: re.Match[str]) -> str:
        return f"{name} -->\n{content}\n" if match[1] == name else match[0]

    found = [document for document in documents if name in names_in(document)]
    for document in found:
        document.write_text(BLOCK.sub(written, document.read_text("utf-8")), "utf-8")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*BLOCKS, []], help="default: all")
    options = parser.parse_args()
    for name in options.names or BLOCKS:
        found = write(name, BLOCKS[name]())
        if not found:
            raise SystemExit(f"no document has a block of the name {name}")
        paths = ", ".join(str(path.relative_to(ROOT)) for path in found)
        print(f"{name}: written into {paths}", file=sys.stderr)


if __name__ == "__main__":
    main()
