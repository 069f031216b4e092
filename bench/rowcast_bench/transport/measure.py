"""One combination: a gallery at a pace, over a link, by a way. Measured, or computed if slow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from rowcast.pixels.artifacts import cached_path
from rowcast_server.models.client_files import read_detokenizer

from ..engine.worker import Worker
from .galleries import Gallery
from .link import FAR, NEAR, Link, LinkFacts, enter_namespace
from .receiver import Receiver, Viewed
from .sender import Order, Sender
from .ways import Way

Figures = dict[str, Any]
MOST_SECONDS: Final = 60.0  # of a picture; a longer one is computed
PACKET, PACKET_HEAD = 1_500, 52  # bytes: an MTU, and the IPv4 and TCP headers with timestamps


class Side:
    """A link with a server at its far end and a viewer at its near one."""

    def __init__(
        self, facts: LinkFacts, galleries: Sequence[Gallery], cache: Path, stack: ExitStack
    ) -> None:
        self.facts = facts
        near, far = (stack.enter_context(ThreadPoolExecutor(1)) for _ in range(2))
        self.link: Link | None = None
        if facts.rate:
            self.link = Link(facts.rate, facts.round_trip / 2, facts.loss)
            ends = near.submit(enter_namespace, NEAR, FAR), far.submit(enter_namespace, FAR, NEAR)
            stack.enter_context(self.link.between(*(end.result() for end in ends)))
        host = FAR if facts.rate else "127.0.0.1"
        self.sender = stack.enter_context(
            far.submit(Worker, Sender, host, galleries, cache).result()
        )
        where = self.sender.call("where")
        self.receiver = stack.enter_context(near.submit(Worker, Receiver, cache, where).result())

    def measure(self, gallery: Gallery, pace: str, way: Way, pictures: int) -> Figures:
        """See so many pictures. Raises RowcastError where that fails."""
        numbers = [number % len(gallery.ids) for number in range(pictures)]
        self.sender.call("prepare", Order(gallery.name, way, gallery.paces[pace]))
        before = list(self.link.carried) if self.link else [0, 0]
        seen, client_cpu = self.receiver.call("view", gallery.name, way, gallery.rows, numbers)
        drawn, server_cpu = self.sender.call("count")
        figures = summed(seen, drawn, gallery.rows)
        shown = [len(viewed.shown) for viewed in seen]
        figures["frames_a_picture"] = round(float(np.mean(shown)), 2)
        if way.protocol != "tokens":
            figures["frames"] = frames_of(seen)
        if self.link:
            down, up = (now - then for now, then in zip(self.link.carried, before, strict=True))
            figures |= {"link_bytes": round(down / pictures), "link_bytes_up": round(up / pictures)}
        figures["server_cpu_ms"] = round(1e3 * server_cpu / pictures, 3)
        figures["client_cpu_ms"] = round(1e3 * client_cpu / pictures, 3)
        return figures


@contextmanager
def side(facts: LinkFacts, galleries: Sequence[Gallery], cache: Path) -> Iterator[Side]:
    """Both ends of a link, in namespaces of their own unless it is loopback."""
    with ExitStack() as stack:
        yield Side(facts, galleries, cache, stack)


def fill_cache(galleries: Sequence[Gallery], cache: Path) -> None:
    """The viewer's cache of a return visit: links to the files that it would have fetched."""
    for gallery in galleries:
        for file in read_detokenizer(gallery.full).files:
            path = cached_path(file.sha256, cache, file.kind)
            if not path.exists():
                path.symlink_to(file.path.resolve())


def summed(seen: Sequence[Viewed], drawn: Sequence[Sequence[float]], rows: int) -> Figures:
    """The figures of pictures that were seen, whose rows were there at the times ``drawn``."""
    glass: list[float] = []
    for viewed, times in zip(seen, drawn, strict=True):
        for row in range(rows):
            shown = next(when for held, when, _ in viewed.shown if held > row)
            glass.append(1e3 * (shown - times[row]))
    last = [times[-1] for times in drawn]
    return {
        "pictures": len(seen),
        "rows": len(glass),
        "payload_bytes": round(float(np.mean([each.payload for each in seen]))),
        "first_row_ms": _ms([each.first - each.asked for each in seen]),
        "row_to_glass_ms": {
            name: round(float(np.percentile(glass, share, method="inverted_cdf")), 2)
            for name, share in (("p50", 50), ("p99", 99), ("p99_9", 99.9))
        },
        "final_added_ms": _ms([each.done - end for each, end in zip(seen, last, strict=True)]),
        "generation_ms": _ms([end - each.asked for each, end in zip(seen, last, strict=True)]),
        "availability": round(
            float(np.median([availability(*each) for each in zip(seen, drawn, strict=True)])), 4
        ),
    }


def availability(viewed: Viewed, drawn: Sequence[float]) -> float:
    """The share of what there was that was visible: rows shown over rows drawn, both summed over
    the time from the first row to the end of the generation."""
    end = drawn[-1]
    existed = sum(end - each for each in drawn)
    visible, held = 0.0, 0
    for now, when, _ in viewed.shown:
        visible += max(0, now - held) * max(0.0, end - when)
        held = max(held, now)
    return visible / existed if existed else 0.0


def frames_of(seen: Sequence[Viewed]) -> list[list[int]]:
    """Rows held and bytes of each frame, the mean of all pictures that had it."""
    sizes: dict[int, list[int]] = {}
    for viewed in seen:
        for held, _, size in viewed.shown:
            sizes.setdefault(held, []).append(size)
    return [[held, round(float(np.mean(sizes[held])))] for held in sorted(sizes)]


def computed(facts: LinkFacts, base: Mapping[str, Any], times: Sequence[float]) -> Figures:
    """The figures over a link from those on loopback, ``base``: every frame is sent when its last
    row is there and takes its bytes' time behind the one before. A lost packet is sent once more;
    the time that finding this out takes is left out."""
    free, shown = 0.0, []
    carried = 0
    for held, size in base["frames"]:
        size = link_bytes(size) / (1 - facts.loss)
        carried += round(size)
        free = max(free, times[held - 1] + facts.round_trip / 2) + 8 * size / facts.rate
        shown.append((held, free + facts.round_trip / 2, 0))
    drawn = [each + facts.round_trip / 2 for each in times]  # the request's way
    viewed = Viewed(0.0, shown[0][1], shown, shown[-1][1], base["payload_bytes"])
    return {
        **summed([viewed], [drawn], len(times)),
        "link_bytes": carried,
        "server_cpu_ms": base["server_cpu_ms"],
        "client_cpu_ms": base["client_cpu_ms"],
        "frames": base["frames"],
    }


def link_bytes(payload: int) -> int:
    """Bytes of the packets that carry so many."""
    return payload + PACKET_HEAD * -(-payload // (PACKET - PACKET_HEAD))


def seconds_expected(facts: LinkFacts, base: Mapping[str, Any], times: Sequence[float]) -> float:
    """Seconds of a picture over a link, from its figures on loopback."""
    least: float = times[-1] + 3 * facts.round_trip + base["final_added_ms"] / 1e3
    if not facts.rate:
        return least
    sending = 8 * link_bytes(base["payload_bytes"]) / (1 - facts.loss) / facts.rate
    return max(least, float(sending + 3 * facts.round_trip))


def _ms(seconds: Sequence[float]) -> float:
    return round(1e3 * float(np.median(seconds)), 2)
