"""`rowcast grids`: many pictures drawn for their ids alone, kept in one file.

Several are in flight at once, so that a server's slots stay full. What is drawn is kept whatever
happens, and the same command goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..aio import AsyncClient, connect
from ..errors import InvalidRequest, RequestRefused, RowcastError
from ..grids import MOST_PICTURES, GridFile, Origin, read_grids
from ..messages import MAX_SEED, DoneReason, ErrorCode
from ..requests import Request, check_request, check_whole, resolve_sampling
from .exit_codes import DONE, FAILED, failure
from .options import GridOptions
from .painting import Lines
from .servers import asking, client_arguments
from .text import answer_json, complain, open_console, say, warnings_shown

AT_ONCE: Final = 32  # twice a server's slots: one picture that waits for each that is drawn


def draw_grids(options: GridOptions) -> int:
    """Draw the pictures that the file lacks, and report. Returns the exit code.

    Raises RowcastError or OSError before anything is drawn.
    """
    console = open_console()
    started = time.monotonic()
    drawing = _Drawing(options)
    code, problem, more = DONE, "", ""
    try:
        with (
            warnings_shown(console),
            asking(options.url),
            _bar(console) as show,
        ):
            asyncio.run(drawing.run(show))
    except (KeyboardInterrupt, RowcastError) as error:
        if drawing.file is None:
            raise
        code, problem = failure(error)
        if not isinstance(error, RequestRefused):  # which it would be again
            more = "; the same command goes on from here"
    assert drawing.file is not None
    refused = list(drawing.refused.values())
    code = code or (FAILED if refused and not options.lenient else DONE)
    file, origin, held = drawing.file, drawing.file.origin, len(drawing.file.grids)
    say(
        console,
        f"{file.path} holds {held} of {origin.count} grids of {origin.model}, seed {origin.seed}",
    )
    for each in refused:
        complain(f"rowcast: {each}")
    if problem:
        complain(f"rowcast: {problem}{more}")
    if options.json:
        report = {
            "grids": held,
            "drawn": held - drawing.held_before,
            "seed": origin.seed,
            "total_s": round(time.monotonic() - started, 2),
            "file": str(file.path),
        }
        report |= {"refused": refused} if refused else {}
        problems = [problem, *refused] if problem else refused
        answer_json(report | ({"error": problems[0]} if problems else {}))
    return code


class _Drawing:
    """One run of drawing; ``file`` is None until the server has announced its model."""

    def __init__(self, options: GridOptions) -> None:
        self._options = options
        self.file: GridFile | None = None
        self.held_before = 0
        self._fewest = asyncio.Event()  # set once so many are held
        self.refused: dict[int, str] = {}  # prompts that cannot be drawn, by their line

    async def run(self, show: Callable[[int, int], None]) -> None:
        """Draw the missing pictures; the file is saved however this ends."""
        async with connect(
            self._options.url,
            decode=False,
            wait_when_busy=math.inf,
            **client_arguments(self._options),
        ) as client:
            file = self._open(client)
            self.file, self.held_before = file, len(file.grids)
            self._note_fewest(file)
            numbers = iter(file.missing)
            file.save()  # else OSError: what could not be saved is not drawn
            show(len(file.grids), file.origin.count)
            at_once = min(AT_ONCE, client.session.welcome.limits.streams)
            workers = [
                asyncio.create_task(self._work(client, file, numbers, show)) for _ in range(at_once)
            ]
            drawn = asyncio.gather(*workers)
            enough = asyncio.create_task(self._until_enough())
            try:
                await asyncio.wait((drawn, enough), return_when=asyncio.FIRST_COMPLETED)
                if drawn.done():
                    drawn.result()
            finally:
                for task in (*workers, enough):
                    task.cancel()
                await asyncio.gather(*workers, enough, return_exceptions=True)
                file.save()

    async def _until_enough(self) -> None:
        """Wait until the time for drawing is over and there are the fewest grids; else for ever."""
        if math.isfinite(self._options.minutes):
            await asyncio.sleep(self._options.minutes * 60)
            await self._fewest.wait()
        else:
            await asyncio.Event().wait()

    def _note_fewest(self, file: GridFile) -> None:
        if len(file.grids) >= self._options.fewest:
            self._fewest.set()

    def _open(self, client: AsyncClient) -> GridFile:
        options = self._options
        model = client.session.model(options.model)
        seed = options.seed
        if seed is None:
            is_begun = options.out.exists()
            seed = read_grids(options.out)[0].seed if is_begun else secrets.randbelow(MAX_SEED + 1)
        check_whole("images", options.images, 1, MOST_PICTURES)
        for line, prompt in enumerate(options.prompts, 1):
            request = Request(prompt, seed=seed, **options.sampling)
            try:
                check_request(request, model, client.session.welcome.limits)
            except InvalidRequest as error:
                if line == 1:  # most are of the options, which all have in common
                    raise
                raise type(error)(f"{self._named(line)}: {error}") from error
        origin = Origin(
            model=model.name,
            revision=model.revision.hex(),
            codebook_size=model.codebook_size,
            rows=model.rows,
            cols=model.cols,
            seed=seed,
            images=options.images,
            sampling=asdict(resolve_sampling(Request("", **options.sampling), model)),
            prompts=options.prompts,
        )
        return GridFile(options.out, origin)

    def _named(self, line: int) -> str:
        """A prompt as people find it."""
        of = f"{self._options.prompts_file}, " if self._options.prompts_file else ""
        return f"{of}prompt {line}"

    async def _work(
        self,
        client: AsyncClient,
        file: GridFile,
        numbers: Iterator[int],
        show: Callable[[int, int], None],
    ) -> None:
        """Draw one picture after the other until all numbers are taken."""
        for number in numbers:
            line = number // file.origin.images + 1
            if line in self.refused:
                continue
            try:
                [done] = await client.pictures(
                    file.origin.prompt(number),
                    model=file.origin.model,
                    revision=bytes.fromhex(file.origin.revision),
                    seed=file.origin.seed,
                    first_image=number,
                    **self._options.sampling,
                )
            except RequestRefused as error:
                text = f"{self._named(line)}: {error.text}"
                if error.code != ErrorCode.BAD_PROMPT:
                    raise RequestRefused(error.code, text) from error
                self.refused[line] = text  # the others are drawn
                continue
            if done.reason != DoneReason.COMPLETE:
                raise RowcastError(f"picture {number} ended before its last row: {done.reason}")
            file.add(number, done.picture.grid)
            self._note_fewest(file)
            show(len(file.grids), file.origin.count)


@contextlib.contextmanager
def _bar(console: Console) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr while it is a terminal, else a line now and then."""
    if not console.is_terminal:
        lines = Lines(console)
        yield lambda done, total: lines(f"{done} of {total} grids")
        return
    columns = TextColumn("grids"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("grids", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
