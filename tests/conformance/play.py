"""Playing a script: its steps one after the other, and what both sides have in common."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from . import frames, values
from .frames import Broken
from .scripts import Exchange
from .values import Failed, NotApplicable

PATIENCE_SECONDS: Final = 5.0
PASSED, FAILED, NOT_APPLICABLE, ADVISED = "passed", "failed", "not applicable", "advice not kept"


@dataclass(frozen=True)
class Result:
    """How an exchange went; ``text`` says why it did not pass, and at which step."""

    exchange: Exchange
    outcome: str
    text: str = ""
    seconds: float = 0.0


class Shown(Exception):
    """All that a script was to show has been shown: it ends here."""


class Player:
    """Plays one exchange. A step's verb is the method ``do_VERB`` that plays it."""

    def __init__(self, exchange: Exchange, names: values.Names, patience: float) -> None:
        self.exchange, self.patience = exchange, patience
        self.names = {**values.fresh(), **names}
        self.names["patience"] = patience
        self.names["since"] = lambda mark: time.monotonic() - self.names[mark]

    async def play(self) -> Result:
        """Play it, and clean up whatever it left."""
        begun = time.monotonic()
        outcome, text = PASSED, ""
        for _ in range(self.exchange.tries):
            outcome, text = await self._try()
            if outcome != FAILED:
                break
        if outcome == FAILED and self.exchange.should:
            outcome = ADVISED
        return Result(self.exchange, outcome, text, time.monotonic() - begun)

    async def _try(self) -> tuple[str, str]:
        bound = dict(self.names)
        outcome, text = await self._outcome(self._whole())
        left = await self._outcome(self.clean_up())
        fresh = values.fresh()
        self.names = bound | {name: fresh[name] for name in ("key", "key2", "key3")}
        return left if outcome == PASSED else (outcome, text)

    async def _outcome(self, playing: Coroutine[Any, Any, None]) -> tuple[str, str]:
        try:
            await playing
        except (Failed, Broken) as error:
            rule = f"{error.rule}: " if isinstance(error, Broken) else ""
            return FAILED, f"{rule}{error} (step {self.at})"
        except NotApplicable as why:
            return NOT_APPLICABLE, str(why)
        return PASSED, ""

    async def _whole(self) -> None:
        self.at = "needs"
        self.names |= self.exchange.each  # as it stands there: conditions may ask for it
        for need in self.exchange.needs:
            if not values.evaluate(need, self.names):
                raise NotApplicable(f"needs {need}")
        for name, item in self.exchange.each.items():
            with suppress(Failed):  # it is of what comes later: a step will tell
                self.names[name] = self.value(item)
        with suppress(Shown):
            await self.steps(self.exchange.steps)
        self.settle()

    async def steps(self, steps: list[dict[str, Any]]) -> None:
        for number, step in enumerate(steps, 1):
            verb = next(name for name in step if name != "on")
            self.at = f"{number}, {verb}" + (
                f" {step[verb]}" if isinstance(step[verb], str) else ""
            )
            await getattr(self, f"do_{verb}")(dict(step))

    def value(self, value: Any) -> Any:
        return values.resolve(value, self.names)

    def settle(self) -> None:
        """Raise Broken where a rule was broken that no step has waited for."""

    async def clean_up(self) -> None:
        """Leave nothing behind."""

    async def until(
        self, news: asyncio.Event, is_so: Callable[[], bool], what: str, seconds: float = 0
    ) -> None:
        """Wait until something is so; ``news`` is set at every change. Raises Failed.

        ``seconds`` are those of a script, for the usual patience: with more, they are more.
        """
        seconds = seconds * self.patience / PATIENCE_SECONDS or self.patience
        try:
            async with asyncio.timeout(seconds):
                while not is_so():
                    news.clear()
                    await news.wait()
        except TimeoutError:
            raise Failed(f"{what}, for {seconds:g} s") from None

    # Steps of both sides

    async def do_note(self, step: dict[str, Any]) -> None:
        """``note``: a name for a value, of now."""
        self.names[step["note"]] = self.value(step["value"])

    async def do_mark(self, step: dict[str, Any]) -> None:
        """``mark``: a name for this moment; ``since(name)`` are the seconds since."""
        self.names[step["mark"]] = time.monotonic()

    async def do_check(self, step: dict[str, Any]) -> None:
        """``check``: an expression that must be true; ``else`` says what it means if not."""
        if not values.evaluate(step["check"], self.names):
            raise Failed(step.get("else") or f"not so: {step['check']}")

    async def do_need(self, step: dict[str, Any]) -> None:
        """``need``: an expression; where it is not true, the exchange is not applicable."""
        if not values.evaluate(step["need"], self.names):
            raise NotApplicable(step.get("else") or f"needs {step['need']}")

    async def do_wait(self, step: dict[str, Any]) -> None:
        """``wait``: so many seconds."""
        await asyncio.sleep(self.value(step["wait"]))

    def packed(self, step: dict[str, Any]) -> bytes | str | None:
        """The bytes, or the text, of a step that sends something other than a message."""
        if "send_bytes" in step:
            return bytes(self.value(step["send_bytes"]))
        if "send_frame" in step:  # bytes that are a frame, or are not
            data: bytes = self.value(step["send_frame"])
            return data
        if "send_raw" in step:  # an array of anything
            raw: bytes = msgpack.packb(self.value(step["send_raw"]))
            return raw
        return str(self.value(step["send_text"])) if "send_text" in step else None


def message_of(side: str, data: bytes) -> dict[str, Any] | None:
    """What a frame of ours says; None if it says nothing, on purpose."""
    try:
        return frames.read_frame(side, data)
    except Broken:
        return None
