"""What is measured while a server runs; gateway/prometheus.py keeps it, where somebody asks."""

from __future__ import annotations


class Metrics:
    """The events that are measured. This class forgets them, so that it costs nothing."""

    def row_drawn(self, seconds: float, is_first: bool) -> None:
        """A row was drawn, so long after its picture was accepted, or after the row before."""

    def rows_sent(self, rows: int, lag: float) -> None:
        """Rows were made a frame for one viewer; the oldest had waited ``lag`` seconds."""

    def frame_sent(self, size: int) -> None:
        """A frame of so many bytes was sent."""

    def closed(self, code: int | None) -> None:
        """A WebSocket was closed; None: without a close frame."""

    def refused(self, reason: str) -> None:
        """A request was refused, by a code of `error` or a status of HTTP."""

    def stepped(self, seconds: float) -> None:
        """An engine drew one token of every slot. Called in its thread."""

    def loop_lagged(self, seconds: float) -> None:
        """The event loop came so much later than asked."""
