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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?<=^<!-- figures: )(\w+) -->\n(.*?)(?=^<!-- end -->$)", re.DOTALL | re.MULTILINE
)
RESULTS = ROOT / "training/results.json"
SHEET = ROOT / "docs/decode-sheet.png"
DEMO_RUNS = 7
PROMPT = "sunset over a meadow, a red house on the left, a yellow balloon on the right"
Figures = dict[str, Any]


def last_line_of(*arguments: str) -> Figures:
    """Run a `rowcast` command; its last line of output, which is JSON."""
    command = [sys.executable, "-m", "rowcast", *arguments]
    print("running: rowcast", *arguments, file=sys.stderr)
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: Figures = json.loads(run.stdout.strip().splitlines()[-1])
    return figures


def viewer() -> str:
    figures = last_line_of("bench", "first-paint")
    side = figures["side"]
    return f"""\
`rowcast bench first-paint` ({figures["machine"]}): from the bytes of a row to an image of {side}x{side} pixels that shows it: \
{figures["first_paint_ms_p50"]} ms (99 % within {figures["first_paint_ms_p99"]} ms), with a
palette of {figures["codes"]:,} codes of 4x4 pixels, {figures["palette_bytes"]:,} bytes."""


def sizes() -> str:
    figures = last_line_of("bench", "export")
    megabytes = {name: size / 1e6 for name, size in figures["bytes"].items()}
    return f"""\
`rowcast bench export` ({figures["machine"]}): a decoder of DALL·E Mini's size has {megabytes["detokenizer.onnx"]:.0f} MB, in fp16 \
{megabytes["detokenizer.fp16.onnx"]:.0f}, in int8 {megabytes["detokenizer.int8.onnx"]:.0f}; its palette {megabytes["palette.npy"] * 1000:.0f} KB. Exporting
all of them, each verified, takes {figures["seconds"]:.0f} s."""


def loading() -> str:
    figures = last_line_of("bench", "loading")
    most = max(figures[f"{each}_memory_by_weights"] for each in ("written", "found"))
    return f"""\
In float32 on the CPU weights over 256 MB are written once into the cache folder ({figures["weights_gb"]} GB for Mini) and
mapped from there, so loading takes at most {most} times their size in memory (`rowcast bench loading`)."""


def wire() -> str:
    figures = last_line_of("bench", "wire")
    return f"""\
`rowcast bench wire` ({figures["machine"]}; {figures["pictures"]} pictures of 128x128):

| a picture | bytes |
|---|---|
| ours, all frames from `accepted` to `done` | {figures["picture_bytes"]} |
| 8 JPEGs, one every second row: the way of previews sent as pictures \
| {figures["eight_jpegs_bytes"]} |
| one JPEG at the end, no preview | {figures["final_jpeg_bytes"]} |

A row is a frame of {figures["row_frame_bytes"]} bytes. TCP/IP adds 40-52 a packet and TLS 22: a lone row is
at most {figures["lone_row_on_the_network_bytes"]} on the network. Ids alone, at the codebook's bits each, would be {figures["ids_share"]:.0%} of a picture's bytes."""


def demo() -> str:
    """The median of some runs: start-up is not counted, the rest is from `start`."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            last_line_of("demo", PROMPT, "--seed", str(seed), "--out", folder, "--json")
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


def engine() -> str:
    figures = last_line_of("bench", "engine")
    return f"""\
`rowcast bench engine` ({figures["machine"]}; DALL·E Mini's size, random weights, {figures["threads"]} threads, min-dalle 0.4.11 \
from PyPI and
ours in turn, in one run):

| | min-dalle | ours, float32 | `--cache states` | `--dtype int8` |
|---|---|---|---|---|
| a step of one picture | {figures["min_dalle_ms_per_step"]} ms | {figures["ours_ms_per_step"]} ms \
| {figures["states_ms_per_step"]} ms | {figures["int8_ms_per_step"]} ms |
| times as fast | 1 | **{figures["single_ratio"]}** | {figures["states_ratio"]} \
| **{figures["int8_ratio"]}** |
| of what memory can be read at | {figures["min_dalle_memory_ceiling_share"]:.0%} | {figures["memory_ceiling_share"]:.0%} \
| {figures["states_memory_ceiling_share"]:.0%} | {figures["int8_memory_ceiling_share"]:.0%} |
| 4 pictures together, times as fast | 1 | {figures["four_ratio"]} | | |
| tokens a second of 8 jobs, over its one | 1 | **{figures["batch8_ratio"]}** \
| {figures["states_batch8_ratio"]} | {figures["int8_batch8_ratio"]} |
| tokens a second of 16 jobs, over its one | 1 | {figures["batch16_ratio"]} \
| {figures["states_batch16_ratio"]} | {figures["int8_batch16_ratio"]} |
| the same, of what the cores can multiply | | {figures["batch16_compute_share"]:.0%} | {figures["states_batch16_compute_share"]:.0%} | |
| pictures a minute, 16 jobs (min-dalle: one) | {figures["min_dalle_pictures_per_minute"]} \
| {figures["ours_pictures_per_minute_16_jobs"]} | | |
| a picture's cache | {figures["min_dalle_cache_mb"]} MB | **{figures["ours_cache_mb"]}** MB \
| {figures["states_cache_mb"]} MB | {figures["int8_cache_mb"]} MB |
| most memory, of ours with 16 slots | {figures["min_dalle_peak_gb"]} GB | {figures["ours_peak_gb"]} GB \
| {figures["states_peak_gb"]} GB | {figures["int8_peak_gb"]} GB |

A picture's text takes {figures["text_mb"]} MB more of ours, its keys and values, which min-dalle computes anew in \
each step.

Weights are read at {figures["memory_read_gb_s"]} of the {figures["memory_ceiling_gb_s"]} GB/s that these \
cores can read; they can multiply at {figures["compute_ceiling_gflops"]:,.0f} GFLOP/s. Greedy tokens
{"are the same" if figures["greedy_tokens_identical"] else "DIFFER"}; int8 keeps \
{figures["int8_same_greedy"]:.1%} of postcard's, KL {figures["int8_mean_kl"]} nats. From the sampling of a \
row's last
token to its bytes written, 16 jobs, {figures["row_emit_rows"]} rows: {figures["row_emit_p50_ms"]} ms \
(median), {figures["row_emit_p99_ms"]} ms (p99); with viewers
the jobs take {figures["streaming_ratio"]} times as long as without. On a GPU:
`rowcast bench engine --size mega --device cuda`."""


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


def fillers() -> str:
    figures = last_line_of("bench", "decode", "--fillers")
    rows = [
        f"| {name} | {values['median_db']} | {values['mean_db']} |"
        for name, values in figures["fillers"].items()
    ]
    table = "\n".join(rows)
    return f"""\
`rowcast bench decode --fillers` ({figures["pictures"]} held-out pictures of postcard; full decodes after each row, against the same \
rows of the final picture):

| guessed below the rows held | dB, median | mean |
|---|---|---|
{table}"""


def decode() -> str:
    """Tiers of pixels; writes the contact sheet too."""
    figures = last_line_of("bench", "decode", "--sheet", str(SHEET))

    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

    names = "update_ms_median update_ms_worst update_gflop_worst compute_share total_full_decodes psnr_db ssim psnr_db_of_final"
    rows = [
        f"| {scheme['label']} | {' | '.join(cell(scheme.get(name)) for name in names.split())} "
        f"| {', '.join(f'{size / 1e6:.3g}' for size in scheme.get('bytes', {}).values())} |"
        for scheme in figures["schemes"].values()
    ]
    table = "\n".join(rows)
    schemes, total = figures["schemes"], figures["client_total_full_decodes"]
    near = schemes[figures["client_forms_by"]]
    dearer = schemes["whole_grid"]["total_full_decodes"] / total
    peer = schemes["min_dalle"]["total_full_decodes"] / total
    last = "is the full decode in every value" if figures["final_equal"] else "IS ANOTHER"
    return f"""\
`rowcast bench decode` ({figures["machine"]}; {figures["threads"]} threads, medians of {figures["rounds"]} rounds in turn; costs at \
DALL·E Mini's size with random weights, where a
full decode takes {figures["full_ms"]:,.0f} ms and {figures["full_gflop"]:.0f} GFLOP, {figures["full_compute_share"]:.0%} of what \
these cores can multiply; quality on postcard, \
{figures["pictures"]} held-out pictures; min-dalle {figures["min_dalle"]}):

| | ms an update | the worst | GFLOP, the worst | of what the cores can multiply | a picture, in full decodes | dB, rows so far (120: exact) | SSIM \
| dB, final picture | MB: fp32, fp16, int8 |
|---|---|---|---|---|---|---|---|---|---|
{table}

What a client shows while a picture forms is the {figures["client_forms_by"]}'s: {near["psnr_db_of_final"]:.1f} dB \
from the same rows of the final picture. The full
decoder, whose norms span the whole picture, has {schemes["rows_so_far"]["psnr_db_of_final"]:.1f} on the rows so far alone, \
and {schemes["full"]["psnr_db_of_final"]:.1f} with guessed rows below them. All updates and the exact last
picture cost {total:.2f} full decodes: {dearer:.0f} times less than decoding the whole grid after each row, {peer:.0f} times less \
than min-dalle's eight
pictures; an update at most {figures["client_update_full_decodes_max"]:.3f} of one. The palette has a row's bytes on the canvas in {figures["palette_ms_p50"]:.2f} ms ({figures["palette_ms"]:.2f} at \
p99) and {figures["palette_bytes"]:,} bytes. The
client's last image {last}."""


BLOCKS: dict[str, Callable[[], str]] = {
    "sizes": sizes,
    "viewer": viewer,
    "loading": loading,
    "wire": wire,
    "demo": demo,
    "engine": engine,
    "decode": decode,
    "fillers": fillers,
    "model": model,
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
