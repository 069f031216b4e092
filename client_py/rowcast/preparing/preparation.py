"""The stages of `rowcast prepare`, one after the other, each by the command that does it alone.

`rowcast convert` and `rowcast export` are found by their entry points, as they belong to packages
that the client does not import; `rowcast serve` is a process, as for `rowcast demo`. What a stage
has finished is on the disk under its name and in ``stages.json``; a stage that was cut goes on by
what its command keeps: grids drawn, pictures decoded, steps taken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
from importlib.metadata import entry_points
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from ..errors import RowcastError
from ..picture import SAMPLING
from ..terminal.demo import local_server
from ..terminal.draw_grids import draw_grids
from ..terminal.install_hints import command_name, install_hint
from ..terminal.options import GridOptions
from ..terminal.servers import read_prompts
from ..terminal.text import open_console, say
from .inspection import MANIFEST, SHEET, check_files, draw_sheet, fewest_db
from .prompts import general_prompts
from .stages import PrepareError, Stages, sha256_of

STAGES: Final = {
    "convert": "the transformer's weights become safetensors (rowcast convert)",
    "export": "the decoder becomes ONNX files, each verified (rowcast export)",
    "draw": "the model draws many grids of its own (rowcast serve, rowcast grids)",
    "teach": "a palette and a small decoder are taught on them (rowcast export --distill)",
    "inspect": "each file is loaded as clients do it, and a contact sheet painted",
}
GROUP: Final = "rowcast.commands"
GRIDS: Final = 2_000
STEPS: Final = 4_000
FEWEST_GRIDS: Final = 8  # the exporter wants so many
DRAWING_SHARE: Final = 0.4  # of the minutes
PREVIEW_PRECISION: Final = "fp16"  # its flat weights come in fp16 and int8 anyway
UNLIMITED: Final = ("--starts-per-minute", "1000000", "--messages-per-minute", "1000000")


class PrepareOptions(argparse.Namespace):
    """What a model is prepared of, and how far."""

    source: str
    output: Path
    detokenizer: Path | None
    precision: str
    prompts_file: Path | None
    grids: int
    steps: int
    minutes: float
    seed: int
    threads: int | None
    device: str


class Preparation:
    """One run of the command."""

    def __init__(self, options: PrepareOptions) -> None:
        self._options = options
        self._model = options.output.resolve()
        self._work = self._model.with_name(f"{self._model.name}.prepare")
        self._grids = self._work / "grids.npz"
        self._stages = Stages(self._work / "stages.json")
        self._console = open_console()

    def run(self) -> int:
        """Do what is not done; the exit code. Raises RowcastError or OSError."""
        prompts = self._prompts_given()  # what is wrong is told before anything is done
        for name, stage in (
            ("convert", self._convert),
            ("export", self._export),
            ("draw", lambda: self._draw(prompts)),
            ("teach", self._teach),
            ("inspect", self._inspect),
        ):
            number = [*STAGES].index(name) + 1
            say(self._console, f"[{number}/{len(STAGES)}] {STAGES[name]}")
            if code := stage():
                return code
        return 0

    def _convert(self) -> int:
        source = self._options.source
        settings = {"source": str(self._source() or source)}
        begun = self._stages.settings("convert")
        if self._model.exists() and (not self._model.is_dir() or any(self._model.iterdir())):
            if begun != settings:
                of = "" if begun is None else f", made of {begun['source']}"
                raise PrepareError(
                    f"{self._model} is there already{of}; name another folder, or remove it"
                    + ("" if begun is None else f" and {self._work}")
                )
            return self._done("convert")  # it appears whole
        self._stages.begin("convert", settings)
        return self._command("convert", source, "-o", self._model, "--detokenizer-checkpoint")

    def _export(self) -> int:
        checkpoint = self._checkpoint()
        precisions = self._options.precision.split(",")
        settings = {"checkpoint": self._stages.relative(checkpoint), "precision": precisions}
        if self._stages.is_done("export", settings):
            return self._done("export")
        self._stages.begin("export", settings)
        words = *self._export_words(checkpoint), "--precision", self._options.precision
        try:
            code = self._command("export", *words)
        except RowcastError as error:
            if checkpoint != self._source():
                raise
            raise PrepareError(
                f"no detokenizer was found in {checkpoint}, or it cannot be exported ({error}); "
                "name its checkpoint with --detokenizer"
            ) from error
        if code:
            return code
        entries = check_files(self._model, self._threads).values()
        files = [each["file"] for each in entries if each["metadata"]["rowcast.kind"] == "full"]
        self._stages.end("export", settings, [self._model / file for file in files])
        return 0

    def _draw(self, given: list[str]) -> int:
        options = self._options
        prompts = given or [*islice(chain(self._examples(), general_prompts()), options.grids)]
        drawn = prompts[: options.grids]
        settings: dict[str, Any] = {
            "decoder": sha256_of(self._model / "detokenizer.onnx"),
            "prompts": drawn,
            "images": math.ceil(options.grids / len(drawn)),
            "seed": options.seed,
            "minutes": self._minutes(DRAWING_SHARE),
        }
        if self._stages.is_done("draw", settings):
            return self._done("draw")
        self._stages.begin("draw", settings)
        asked = GridOptions(
            prompts=drawn,
            prompts_file=options.prompts_file,
            images=settings["images"],
            model=None,
            seed=options.seed,
            out=self._grids,
            json=False,
            minutes=options.minutes * DRAWING_SHARE,
            fewest=FEWEST_GRIDS,
            lenient=True,
            **dict.fromkeys(SAMPLING),  # as the model has it
        )
        with local_server(str(self._model), *UNLIMITED) as asked.url:
            code = draw_grids(asked)
        if code:
            return code
        self._stages.end("draw", settings, [self._grids])
        return 0

    def _teach(self) -> int:
        options, checkpoint = self._options, self._checkpoint()
        minutes = self._minutes(1 - DRAWING_SHARE)
        settings = {"grids": sha256_of(self._grids), "steps": options.steps, "minutes": minutes}
        if self._stages.is_done("teach", settings):
            return self._done("teach")
        self._stages.begin("teach", settings)
        words: list[object] = ["--distill", self._grids, "--run", self._work / "training"]
        words += ["--steps", options.steps, "--preview-precision", PREVIEW_PRECISION]
        words += ["--preview-only"]
        words += ["--device", options.device]
        if minutes is not None:
            words += ["--minutes", minutes]
        if code := self._command("export", *self._export_words(checkpoint), *words):
            return code
        entries = check_files(self._model, self._threads)
        files = [self._model / name for name in entries if name.startswith(("preview", "palette"))]
        self._stages.end("teach", settings, files)
        return 0

    def _inspect(self) -> int:
        settings = {"manifest": sha256_of(self._model / MANIFEST)}
        entries = check_files(self._model, self._threads)
        if not self._stages.is_done("inspect", settings):
            self._stages.begin("inspect", settings)
            sheet = draw_sheet(self._model, self._grids, self._threads)
            self._stages.end("inspect", settings, [sheet])
        say(
            self._console,
            f"{self._options.output} is ready: the preview is {fewest_db(entries, 'preview'):.1f} "
            f"dB from the full decoder, the palette {fewest_db(entries, 'palette'):.1f} (median of "
            f"grids held out); look at {self._options.output / SHEET}, and serve it with: "
            f"{command_name()} serve --model {self._options.output}",
        )
        return 0

    def _prompts_given(self) -> list[str]:
        path = self._options.prompts_file
        return [] if path is None else read_prompts(path)

    def _examples(self) -> list[str]:
        """Prompts that the model says it can draw."""
        return [str(each) for each in self._notes().get("examples", [])]

    def _notes(self) -> dict[str, Any]:
        path = self._model / "model.json"
        notes: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        return notes

    def _checkpoint(self) -> Path:
        """What the decoder is exported from. Raises PrepareError."""
        own, source = self._model / "detokenizer.safetensors", self._source()
        if self._options.detokenizer is not None:
            return self._options.detokenizer.resolve()
        if own.is_file():
            return own
        if source is not None:  # one checkpoint may hold both
            return source
        raise PrepareError(
            f"{self._options.source} brings no checkpoint of its detokenizer; name one with "
            "--detokenizer"
        )

    def _source(self) -> Path | None:
        """SOURCE where it is no name."""
        source = Path(self._options.source)
        return source.resolve() if source.exists() else None

    def _export_words(self, checkpoint: Path) -> list[object]:
        words: list[object] = [checkpoint, "-o", self._model]
        if name := self._notes().get("name"):
            words += ["--name", name]
        return words + (["--threads", self._options.threads] if self._options.threads else [])

    def _minutes(self, share: float) -> float | None:
        """A share of the minutes; None without a limit."""
        minutes = self._options.minutes * share
        return None if math.isinf(minutes) else minutes

    @property
    def _threads(self) -> int:
        return self._options.threads or 1

    def _done(self, stage: str) -> int:
        say(self._console, "      done before")
        return 0

    def _command(self, name: str, *words: object) -> int:
        """The exit code of another command of ours; what it tells on stdout goes to stderr."""
        points = [point for point in entry_points(group=GROUP) if point.name == name]
        try:
            command = points[0].load()
        except (IndexError, ModuleNotFoundError) as error:
            raise PrepareError(
                f"`rowcast {name}` is not installed; {install_hint('server', 'export')}"
            ) from error
        with contextlib.redirect_stdout(sys.stderr):
            return int(command([str(word) for word in words]))
