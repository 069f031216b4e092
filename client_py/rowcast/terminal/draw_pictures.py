"""The part of `rowcast generate` and `rowcast demo` that draws: watch, paint, save, report."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ..errors import InvalidRequest, RequestRefused, RowcastError
from ..events import Event, PictureFailed
from ..picture import Picture
from ..requests import Request, check_request
from ..rows_file import load_rows
from ..share_link import ShareLink
from ..sync import SyncClient, connect
from ..transport import without_user
from .exit_codes import deaf_once, failure
from .install_hints import command_name
from .options import DrawOptions
from .painting import painting, writing
from .picture_files import NUMBERED, PictureFiles
from .report import Report
from .servers import asking, client_arguments
from .text import open_console, say, warnings_shown
from .watch import Fetching, Watch


@dataclass(frozen=True)
class Job:
    """Pictures that are drawn together: of one prompt, or one that goes on from a file.

    ``name`` names a picture's files; ``request`` is None for pictures that somebody else asked for.
    """

    request: Request | None
    images: int
    events: Callable[[SyncClient], Iterator[Event]]
    name: Callable[[Picture], str]


def draw(options: DrawOptions) -> int:
    """Draw, paint, save and report, as `generate` and `demo` do. Returns the exit code.

    Raises RowcastError or OSError before anything is drawn.
    """
    console = open_console()
    jobs = [_continuing(options, *each) for each in _sources(options, console)]
    jobs += [_of_prompt(options, prompt) for prompt in options.prompts]
    jobs += [] if options.link is None else [_watching(options, options.link)]
    files = PictureFiles(options.out, options.formats, options.overwrite)
    files.prepare()
    with ExitStack() as told, ExitStack() as opened:
        opened.enter_context(warnings_shown(console))
        with asking(options.url), Fetching(console) as fetching:
            client = opened.enter_context(
                connect(
                    options.url,
                    allowed_hosts=options.allowed_hosts or (),
                    progress=fetching,
                    quality=options.quality,
                    **client_arguments(options),
                )
            )
        _check(jobs, client)
        if options.is_gone and (model := client.session.model()).description:
            say(console, f"{model.name} draws: {model.description}")
        report = Report(options, files, client.bytes_received)
        for number, job in enumerate(jobs, 1):
            title = f"{number} of {len(jobs)}: " if len(jobs) > 1 else ""
            started = time.perf_counter()
            watch = Watch(
                started,
                client.bytes_received,
                fetching,
                title=title,
                number=number,
                prompt=job.request.prompt if job.request else "",
                stop_row=options.stop_row,
            )
            goes_on = _watch(console, client, job, watch, report)
            if not _save(console, client, job, watch, report) or not goes_on:
                break
        report.end(client)
        told.enter_context(deaf_once())
        opened.close()
        return report.tell(console)


def _of_prompt(options: DrawOptions, prompt: str) -> Job:
    return Job(
        Request(prompt, options.images, **options.request),
        options.images,
        lambda client: client.generate(
            prompt, options.images, seamless=options.seamless, **options.request
        ),
        lambda picture: NUMBERED,
    )


def _sources(options: DrawOptions, console: Console) -> list[tuple[Path, Picture]]:
    """Saved pictures to go on with; of several, those that are complete are passed by.

    Raises ReplayError or OSError.
    """
    found = [(path, load_rows(path)) for path in options.sources or ()]
    unfinished = [each for each in found if not each[1].complete]
    if options.row is not None or not unfinished:
        return found
    for path, picture in found:
        if picture.complete:
            say(console, f"{path} is complete: passed by")
    return unfinished


def _continuing(options: DrawOptions, path: Path, source: Picture) -> Job:
    """Its name never is that of its source. Raises InvalidRequest."""
    row = source.rows_held if options.row is None else options.row
    try:
        request = Request.continuing(source, options.row, options.seed, options.stop_row)
    except InvalidRequest as error:
        raise InvalidRequest(f"{path}: {error}") from error
    return Job(
        request,
        1,
        lambda client: client.continue_picture(
            source, options.row, seed=options.seed, stop_row=options.stop_row
        ),
        lambda picture: f"{path.stem}-row-{row}-seed-{picture.recipe.seed}",
    )


def _watching(options: DrawOptions, link: ShareLink) -> Job:
    return Job(
        None,
        link.images,
        lambda client: client.watch(
            link.view_key, link.images, first_image=link.first_image, seamless=options.seamless
        ),
        lambda picture: NUMBERED,
    )


def _check(jobs: list[Job], client: SyncClient) -> None:
    """Raise InvalidRequest for what the server cannot accept: then nothing is drawn."""
    session = client.session
    for number, job in enumerate(jobs, 1):
        if job.request is None:
            continue
        try:
            model = session.model(job.request.options.model)
            check_request(job.request, model, session.welcome.limits)
        except InvalidRequest as error:
            if number == 1:  # most are of the options, which all have in common
                raise
            raise type(error)(f"prompt {number}: {error}") from error


def _watch(console: Console, client: SyncClient, job: Job, watch: Watch, report: Report) -> bool:
    """Paint pictures while they form. Returns False where no others can be drawn after them."""
    try:
        with painting(console) as paint:
            for event in job.events(client):
                if report.options.share and not watch.pictures:
                    report.links.append(_share(console, client, job, event.picture))
                watch.take(event)
                if isinstance(event, PictureFailed):
                    report.fail(*failure(event.error), watch, event.index)
                paint(watch.images, watch.caption(client.bytes_received))
    except (RowcastError, KeyboardInterrupt) as error:
        report.fail(*failure(error), watch, getattr(error, "index", None))
        report.add(watch)
        return isinstance(error, RequestRefused)  # of this one
    report.add(watch)
    report.check_ends(watch)
    return True


def _share(console: Console, client: SyncClient, job: Job, begun: Picture) -> str:
    """Say how others can watch; returns the link. ``begun`` is the job's first picture to begin.

    Raises InvalidRequest where no link can hold the server's address.
    """
    first = begun.recipe.image if job.images == 1 else 0
    link = ShareLink(without_user(client.url), begun.view_key, first, first + job.images - 1)
    say(console, f"watch it elsewhere: {command_name()} watch {shlex.quote(str(link))}")
    return str(link)


def _save(console: Console, client: SyncClient, job: Job, watch: Watch, report: Report) -> bool:
    """Write the files. Returns False where they cannot be written."""
    files, decoder = report.files, client.detokenizer
    pictures = [watch.pictures.get(index) for index in range(job.images)]
    named = [(job.name(each) if each else NUMBERED, each) for each in pictures]
    try:
        with writing(console) as files.on_file:
            files.save(named, decoder)
            if report.options.seamless and watch.pictures:
                report.joined += files.save_mosaic(watch.pictures, job.images, decoder)
    except (RowcastError, OSError, KeyboardInterrupt) as error:
        report.fail(*failure(error), watch)
        return False
    return True
