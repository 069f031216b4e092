"""The client's side of the protocol, without a socket: frames in, events and frames out.

Both shells (aio.py, sync.py) drive this one session; the events of pictures come out of each
request's `Generation`.
"""

from __future__ import annotations

import copy
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

from . import __version__
from .errors import (
    BeyondLimits,
    ConnectionFailed,
    ConnectionLost,
    InvalidRequest,
    PictureGone,
    ProtocolError,
    RequestRefused,
    RowcastError,
)
from .generation import Generation, Slot
from .messages import (
    KEY_BYTES,
    MAX_STREAM,
    Accepted,
    Cancel,
    Done,
    DoneReason,
    Error,
    ErrorCode,
    GoAway,
    Hello,
    Model,
    Ping,
    Pong,
    Queued,
    Rows,
    Welcome,
    decode_server,
    done_reason,
    encode,
)
from .picture import PRECISIONS, UNKNOWN_SAMPLING, Picture, Recipe, detokenizer_file
from .requests import (
    Request,
    Token,
    check_announced,
    check_bytes,
    check_count,
    check_request,
    resolve_sampling,
    token_text,
)

logger = logging.getLogger(__name__)

NAME: Final = f"rowcast-python {__version__}"  # of this client, for a server's log


class ClientSession:
    """One logical connection, which may outlive several sockets.

    After a socket is lost, `resume` gives the frames for the next one. Raises InvalidRequest for a
    token that cannot be one. ``progress`` grows with every row and every end that arrives, and with
    every request: who asks again has patience again.
    ``precisions`` is the order in which a detokenizer file is chosen, for a picture's recipe.

    A refusal that names a time (`busy`, R-70) is waited out for up to ``reconnect`` seconds where
    pictures have begun, for up to ``wait_when_busy`` where none has; then it is told.
    """

    def __init__(
        self,
        token: Token = None,
        precisions: Sequence[str] = PRECISIONS,
        *,
        reconnect: float = 0.0,
        wait_when_busy: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not callable(token):
            token = token_text(token)
        self._token = token
        self._precisions = precisions
        self._waits = (wait_when_busy, reconnect)
        self._clock = clock
        self._slots: dict[int, Slot] = {}
        self._greeted = self._is_going_away = False
        self._welcome: Welcome | None = None
        self.progress = 0

    @property
    def active(self) -> tuple[Generation, ...]:
        """The generations that have not ended and were not abandoned."""
        generations = {id(slot.generation): slot.generation for slot in self._slots.values()}
        return tuple(each for each in generations.values() if not each.abandoned)

    @property
    def welcome(self) -> Welcome:
        """The server's announcement. Raises ConnectionFailed before it has come."""
        if self._welcome is None:
            raise ConnectionFailed("the client is not open; use it in a `with` block")
        return self._welcome

    def hello(self) -> bytes:
        """The first frame on a socket; `welcome` is then the first to come.

        Raises InvalidRequest where a function gives no token.
        """
        self._greeted = self._is_going_away = False
        for slot in self._slots.values():
            slot.is_answered = False
        return encode(Hello(token_text(self._token), NAME))

    def model(self, name: str | None = None) -> Model:
        """A model that the server announced. Raises InvalidRequest for an unknown one."""
        models = {model.name: model for model in self.welcome.models}
        if name is None:
            return self.welcome.models[0]
        if name not in models:
            raise InvalidRequest(f"unknown model {name!r}; the server has {', '.join(models)}")
        return models[name]

    def start(self, request: Request) -> tuple[Generation, list[bytes]]:
        """Ask for pictures; returns their generation and the frames to send.

        There are none after `goaway` (R-51): `resume` asks for them, on the next socket. Raises
        InvalidRequest for what this server cannot accept.
        """
        check_request(request, self.model(request.options.model), self.welcome.limits)
        generation = Generation(
            request, secrets.token_bytes(KEY_BYTES), self._free_streams(request.images), None
        )
        frame = encode(generation.start_message())
        limit = self.welcome.limits.client_frame_bytes
        if len(frame) > limit:
            size = f"{len(frame)} bytes; the server takes at most {limit}"
            raise BeyondLimits(f"prompt and prefix take {size}")
        self._open(generation)
        return generation, [] if self._is_going_away else [frame]

    def watch(
        self, key: bytes, images: int = 1, first_image: int = 0
    ) -> tuple[Generation, list[bytes]]:
        """Watch somebody's pictures by their view key, which has KEY_BYTES bytes; as `start`.

        Raises InvalidRequest.
        """
        check_bytes("view_key", key, KEY_BYTES)
        images = check_count("images", images, self.welcome.limits.streams)
        request = Request("", images=images, first_image=first_image)
        generation = Generation(request, b"", self._free_streams(images), key)
        self._open(generation)
        return generation, [encode(slot.watch_message()) for slot in generation.slots]

    def cancel(self, generation: Generation) -> list[bytes]:
        """The frames that end a generation: they cancel own pictures, and leave watched ones."""
        for slot in generation.unended:
            if slot.is_put_off:  # there is nothing to cancel, and no end will come
                self._end(slot)
        own = [each for each in generation.unended if self._slots.get(each.stream) is each]
        return [encode(Cancel(slot.stream)) for slot in own]

    def resume(self) -> list[bytes]:
        """The frames that take up every unfinished picture on a new socket, after `hello`."""
        for slot in list(self._slots.values()):
            if slot.generation.abandoned or slot.generation.ended:  # of a `start` that was refused
                self._end(slot)  # its stream ended with the old socket, and nobody asks for it
        frames: list[bytes] = []
        limit = self.welcome.limits.client_frame_bytes
        for generation in self.active:
            asked = [encode(each) for each in generation.resume_messages()]
            if any(len(frame) > limit for frame in asked):  # another server than before
                generation.fail(ConnectionLost(f"the next server takes {limit} bytes, too few"))
                for slot in generation.unended:
                    self._end(slot)
            else:
                frames += asked
        return frames

    @property
    def retry_in(self) -> float | None:
        """Seconds until `retry` has something to send; None if nothing waits for that."""
        times = [each.retry_time for each in self.active if each.retry_time is not None]
        if not times or self._is_going_away:
            return None
        return max(0.0, min(times) - self._clock())

    def retry(self) -> list[bytes]:
        """The frames that ask again for what a busy server put off, if their time has come."""
        if self._is_going_away:
            return []
        now, frames = self._clock(), []
        for generation in self.active:
            if generation.retry_time is not None and generation.retry_time <= now:
                frames += [encode(each) for each in generation.retry_messages()]
        return frames

    def close(self) -> list[bytes]:
        """Fail whatever is still forming; returns the frames that cancel it."""
        forming = [slot for each in self.active for slot in each.unended if not slot.is_put_off]
        frames = [encode(Cancel(slot.stream)) for slot in forming]
        self.fail(ConnectionLost("the client was closed"))
        return frames

    def fail(self, error: RowcastError) -> None:
        """Fail every unfinished generation: the connection is lost for good."""
        for generation in self.active:
            generation.fail(copy.copy(error))  # each carries its own pictures
        self._slots.clear()

    def receive(self, frame: bytes | str) -> list[bytes]:
        """Take a frame; returns frames to send. Raises ProtocolError."""
        if isinstance(frame, str):
            raise ProtocolError("the server sent a text frame")
        message = decode_server(frame)
        if isinstance(message, Welcome) == self._greeted:  # it is the first, and comes once
            raise ProtocolError("a second welcome" if self._greeted else "no welcome came first")
        match message:
            case Welcome():
                for model in message.models:
                    check_announced(model)
                self._greeted, self._welcome = True, message
            case Ping() as ping:
                return [encode(Pong(ping.echo))]
            case Error(stream=None) as error:
                failure = ProtocolError(f"the server reports: {error.text} [{error.code}]")
                failure.close_code = 1000  # the frame was right, and ends the connection
                raise failure
            case Accepted() | Queued() | Rows() | Done() | Error() as message:
                slot = self._slots.get(message.stream or 0)
                if slot is not None:
                    self._receive(slot, message)
            case GoAway():
                self._is_going_away = True
            case None | Pong():
                pass
        return []

    def _receive(self, slot: Slot, message: Accepted | Queued | Rows | Done | Error) -> None:
        match message:
            case Accepted():
                self._accepted(slot, message)
            case Error():
                self._error(slot, message)
            case _ if slot.begun is None:
                raise ProtocolError(f"stream {slot.stream} was not accepted yet")
            case Queued():
                slot.queue(message.position)
            case Rows():
                slot.add_rows(message.first_row, message.ids)
                self.progress += 1
            case Done():
                slot.check_end(message)
                slot.picture.milliseconds = message.milliseconds
                self._end(slot)
                slot.finish(done_reason(message.reason))

    def _accepted(self, slot: Slot, accepted: Accepted) -> None:
        if slot.begun is None:
            slot.begin(self._new_picture(slot, accepted))
        else:
            slot.check_resumed(accepted)
        slot.accept(accepted.position)

    def _new_picture(self, slot: Slot, accepted: Accepted) -> Picture:
        request = slot.generation.request
        model = next((each for each in self.welcome.models if each.name == accepted.model), None)
        if model is None:
            raise ProtocolError(f"a picture by {accepted.model!r}, which was not announced")
        slot.check_begin(accepted, model, self.welcome.models[0].name)
        file = detokenizer_file(model, "full", self._precisions)
        picture = Picture(
            Recipe(
                model=accepted.model,
                revision=accepted.revision,
                prompt=request.prompt,
                seed=accepted.seed,
                image=accepted.image,
                sampling=resolve_sampling(request, model) if slot.is_own else UNKNOWN_SAMPLING,
                rows=accepted.rows,
                cols=accepted.cols,
                id_bytes=accepted.id_bytes,
                detokenizer_sha256=None if file is None else file.sha256,
            ),
            model.codebook_size,
            text_cut=accepted.text_cut,
            text_lost=accepted.text_lost,
            view_key=slot.generation.view_key,
        )
        if request.options.prefix:
            picture.add_rows(0, request.options.prefix)
        if picture.rows_held != accepted.first_row:
            raise ProtocolError(f"row {accepted.first_row} follows; {picture.rows_held} are held")
        return picture

    def _error(self, slot: Slot, error: Error) -> None:
        generation, refusal = slot.generation, None
        wait, is_first = error.retry_ms / 1000, generation.put_off_since is None
        if error.code == ErrorCode.GONE and slot.holds_all:
            # Only the end itself was lost: there is nothing to recover.
            complete = slot.picture.complete
            slot.finish(DoneReason.COMPLETE if complete else DoneReason.STOP_ROW)
        elif slot.put_off(self._clock(), wait, self._waits):
            if is_first:  # of all its pictures, and of all the times that they wait
                logger.warning("%s; trying again in %g s", error.text, wait)
            return
        else:
            kind = PictureGone if error.code == ErrorCode.GONE else RequestRefused
            index = slot.index if len(generation.slots) > 1 else None
            refusal = kind(error.code, error.text, error.retry_ms, index)
            if generation.is_unanswered:  # its `start` is refused
                generation.fail(kind(error.code, error.text, error.retry_ms))
        self._end(slot)
        if refusal is not None:
            slot.fail(refusal)

    def _end(self, slot: Slot) -> None:
        self.progress += 1
        slot.ended = True
        self._slots.pop(slot.stream, None)

    def _open(self, generation: Generation) -> None:
        self._slots |= {slot.stream: slot for slot in generation.slots}
        self.progress += 1

    def _free_streams(self, count: int) -> range:
        """The lowest run of free streams: low numbers take one byte less in each frame."""
        first = 0
        while not self._slots.keys().isdisjoint(range(first, first + count)):
            first += 1
        if first + count > MAX_STREAM + 1:
            raise InvalidRequest("images have no free streams; end some pictures first")
        return range(first, first + count)
