"""Five hundred viewers of eight jobs: every row comes to each, soon, and a cut of all loses none.

A viewer watches one of the jobs, of ten rows a second; no two of them have a row in one step, here
as at the bare server. Of one row the last viewer has it once all others do. Rows tell when they
were drawn. Then viewers are added until a hundredth of the rows is later than 50 ms, at this
server, and at a bare one of `websockets` that sends the same bytes at the same pace. Either server
has one core.
"""

from __future__ import annotations

import statistics
import time
import zlib

import msgpack

from tests.support.raw_client import ACCEPTED, ROWS

from ..scenario import Figures, say
from .latency import JOBS, POSTCARDS_ROW, Jobs, Lateness, measured
from .loaded import BARE, LoadedServer, loaded_server
from .wire import Crowd, Line, hello, request

VIEWERS, CUT_AT_ONCE = 500, 1_000
QUICK_SHARE = 10
SECONDS = 10.0
ROWS_OF_ALL = 4_096
MOST_LATE, MOST_RESUMING = 20.0, 10.0
LATE = 50.0  # milliseconds: so much at p99 is one viewer too many
GROWTH, FIRST, MOST = 1.35, 150, 4_000
PROBE_SECONDS = 2.0
PAIRS, QUICK_PAIRS = 3, 1
LEAST_RATIO = 0.7
SECONDS_A_ROW = 0.1
PACE = f"--seconds-a-row={SECONDS_A_ROW}"
SERVER = (
    f"--slots={JOBS}",
    PACE,
    f"--steps-a-row={JOBS}",
    "--stamp",
    "--grid",
    str(ROWS_OF_ALL),
    "16",
)
# A picture whose rows can all be held, and that forms for longer than this takes.
RESUMABLE = (f"--slots={JOBS}", "--seconds-a-row=0.3", "--stamp", "--grid", "64", "16")
AT_ONCE = 50


def run(quick: bool) -> Figures:
    share = QUICK_SHARE if quick else 1
    figures = Figures()
    with loaded_server(*SERVER) as server, Crowd(server.url) as crowd:
        jobs = Jobs(crowd)
        watch_all(figures, crowd, jobs, VIEWERS // share)
    with loaded_server(*RESUMABLE) as server, Crowd(server.url) as crowd:
        cut_all(figures, crowd, Jobs(crowd), CUT_AT_ONCE // share)
    pairs = [pair() for _ in range(QUICK_PAIRS if quick else PAIRS)]
    ours, bare = (statistics.median(each) for each in zip(*pairs, strict=True))
    figures.add(f"viewers a core at p99 of {LATE:g} ms", ours)
    figures.add("rows a second and core, there", 10 * ours)
    figures.add("viewers a core of a bare server", bare)
    ratio = statistics.median(one / other for one, other in pairs)
    figures.add("ratio", ratio, least=LEAST_RATIO)
    return figures


def watch_all(figures: Figures, crowd: Crowd, jobs: Jobs, count: int) -> None:
    """Rows of so many viewers: how many are lost, and how late they are."""
    lines = jobs.viewers(crowd, count)
    lateness = measured(crowd, lines, SECONDS)
    figures.add("viewers", count)
    figures.add("rows received", len(lateness.seconds), least=count)
    figures.add("rows lost or doubled", lateness.lost, most=0)
    figures.add("p99 from drawing to receipt", lateness.p99, "ms", most=MOST_LATE)
    crowd.cut(lines)


def cut_all(figures: Figures, crowd: Crowd, jobs: Jobs, count: int) -> None:
    """Cut so many viewers at once; they come back, each with the rows that it has."""
    logs = [bytearray() for _ in range(JOBS)]
    lines = jobs.viewers(crowd, count)
    keepers = {line.number: log for line, log in zip(jobs.keepers(crowd), logs, strict=True)}
    before = Lateness(lines)
    for line, payload, when in crowd.frames(2.0):
        before.take(line, payload, when)
        if line.number in keepers and payload[1] == ROWS:
            keepers[line.number] += msgpack.unpackb(payload)[3]
    due = [before.due[line.number] or 0 for line in lines]
    returns = [
        jobs.watching(number % JOBS, rows, zlib.crc32(logs[number % JOBS][: rows * POSTCARDS_ROW]))
        for number, rows in enumerate(due)
    ]
    begun = time.monotonic()
    crowd.cut(lines)
    after, waiting = Lateness([]), set[int]()
    for number in range(0, count, AT_ONCE):
        for rows, data in zip(due[number:][:AT_ONCE], returns[number:][:AT_ONCE], strict=True):
            line = crowd.open(data)
            after.due[line.number] = rows
            waiting.add(line.number)
        resume(crowd, after, waiting, 0.01)
    while waiting and time.monotonic() < begun + 3 * MOST_RESUMING:
        resume(crowd, after, waiting, 0.1)
    passed = time.monotonic() - begun
    resume(crowd, after, waiting, 1.0)
    figures.add("viewers cut at once", count)
    figures.add("of them not resumed", len(waiting), most=0)
    figures.add("all resumed after", passed, "s", most=MOST_RESUMING)
    figures.add("rows lost or doubled by the cut", before.lost + after.lost, most=0)


def resume(crowd: Crowd, lateness: Lateness, waiting: set[int], seconds: float) -> None:
    """Read for a while; lines on which `accepted` comes have resumed."""
    for line, payload, when in crowd.frames(seconds):
        lateness.take(line, payload, when)
        if payload[1] == ACCEPTED:
            waiting.discard(line.number)


def most_in_time(server: LoadedServer) -> float:
    """The viewers of this server of whose rows a hundredth is later than `LATE`."""
    with Crowd(server.url) as crowd:
        lines: list[Line] = []
        jobs = Jobs(crowd) if server.speaks_rowcast else None
        greeting = request(server.url) + hello() + hello()  # all that a bare server asks for
        before, late_before, count = 0, 0.0, FIRST
        while count <= MOST:
            more = count - len(lines)
            lines += jobs.viewers(crowd, more) if jobs else crowd.open_many(more, greeting, said=3)
            late = measured(crowd, lines, PROBE_SECONDS).p99
            say(f"  {'ours' if jobs else 'bare'}: p99 {late:.1f} ms with {count} viewers")
            if late > LATE:
                share = (LATE - late_before) / (late - late_before)
                return before + share * (count - before)
            before, late_before, count = count, late, int(count * GROWTH)
    return before


def pair() -> tuple[float, float]:
    """As `most_in_time`, of ours and of a bare one."""
    with loaded_server(*SERVER) as ours:
        own = most_in_time(ours)
    with loaded_server(PACE, module=BARE) as bare:
        return own, most_in_time(bare)
