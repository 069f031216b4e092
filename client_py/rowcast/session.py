"""The client's side of the protocol, without a socket: frames in, events and frames out.

Both shells (aio.py, sync.py) drive this one session; the events of pictures come out of each
request's `Generation`.
"""

from __future__ import annotations

import copy
import math
import secrets
from collections.abc import Sequence
from typing import Final

import msgspec

from .errors import (
    ConnectionFailed,
    ConnectionLost,
    InvalidRequest,
    PictureGone,
    ProtocolError,
    RequestRefused,
    RowcastError,
)
from .files import PRECISIONS, detokenizer_file
from .generation import Generation, Slot
from .messages import (
    KEY_BYTES,
    MAX_STREAM,
    MAX_TOKEN_CHARACTERS,
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
    Start,
    Watch,
    Welcome,
    decode_server,
    done_reason,
    encode,
    view_key,
)
from .picture import SAMPLING, Picture, Recipe, sampling_options
from .requests import (
    MAX_TOP_K,
    Request,
    check_request,
    check_whole,
    encode_text,
    resolve_sampling,
)

NAME: Final = "rowcast-python"  # of this client, for a server's log


class ClientSession:
    """One logical connection, which may outlive several sockets.

    After a socket is lost, `resume` gives the frames for the next one. Raises InvalidRequest for a
    token that cannot be one. ``progress`` grows with every row and every end that arrives.
    ``precisions`` is the order in which a detokenizer file is chosen, for a picture's recipe.
    """

    def __init__(self, token: str | None = None, precisions: Sequence[str] = PRECISIONS) -> None:
        if token is not None:
            encode_text("token", token)
            if len(token) > MAX_TOKEN_CHARACTERS:
                raise InvalidRequest(f"a token has at most {MAX_TOKEN_CHARACTERS} characters")
        self._hello = Hello(token, NAME)
        self._precisions = precisions
        self._slots: dict[int, Slot] = {}
        self._greeted = False
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
        """The first frame on a socket; `welcome` is then the first to come."""
        self._greeted = False
        return encode(self._hello)

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

        Raises InvalidRequest for what this server cannot accept.
        """
        check_request(request, self.model(request.options.model), self.welcome.limits)
        generation = Generation(
            request, secrets.token_bytes(KEY_BYTES), self._free_streams(request.images), None
        )
        frame = _start_frame(generation)
        limit = self.welcome.limits.client_frame_bytes
        if len(frame) > limit:
            raise InvalidRequest(f"the request takes {len(frame)} bytes; the limit is {limit}")
        self._open(generation)
        return generation, [frame]

    def watch(
        self, key: bytes, images: int = 1, first_image: int = 0
    ) -> tuple[Generation, list[bytes]]:
        """Watch somebody's pictures by their view key, which has KEY_BYTES bytes; as `start`.

        Raises InvalidRequest.
        """
        if len(key) != KEY_BYTES:
            raise InvalidRequest(f"a view key has {KEY_BYTES} bytes, not {len(key)}")
        check_whole("images", images, 1, self.welcome.limits.streams)
        request = Request("", images=images, first_image=first_image)
        generation = Generation(request, b"", self._free_streams(images), key)
        self._open(generation)
        return generation, [_watch_frame(slot) for slot in generation.slots]

    def cancel(self, generation: Generation) -> list[bytes]:
        """The frames that end a generation: they cancel own pictures, and leave watched ones."""
        return [encode(Cancel(slot.stream)) for slot in generation.slots if not slot.ended]

    def resume(self) -> list[bytes]:
        """The frames that take up every unfinished picture on a new socket, after `hello`."""
        frames: list[bytes] = []
        for slot in [slot for slot in self._slots.values() if slot.generation.abandoned]:
            self._end(slot)  # its stream ended with the old socket, and nobody asks for it
        for generation in self.active:
            if generation.watched is None and not generation.pictures:
                # Nobody knows whether it arrived: the same again, with the same key.
                frames.append(_start_frame(generation))
            else:
                frames += [_resume_frame(slot) for slot in generation.slots if not slot.ended]
        return frames

    def close(self) -> list[bytes]:
        """Fail whatever is still forming; returns the frames that cancel it."""
        frames = [frame for generation in self.active for frame in self.cancel(generation)]
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
                    _check_announced(model)
                self._greeted, self._welcome = True, message
            case Ping() as ping:
                return [encode(Pong(ping.echo))]
            case Error(stream=None) as error:
                raise ProtocolError(f"the server reports: {error.text} [{error.code}]")
            case Accepted() | Queued() | Rows() | Done() | Error() as message:
                slot = self._slots.get(message.stream or 0)
                if slot is not None:
                    self._receive(slot, message)
            case None | Pong() | GoAway():
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
                picture = slot.picture
                if (message.rows, message.crc32) != (picture.rows_held, picture.checksum):
                    raise ProtocolError(
                        f"the picture ended with {message.rows} rows and crc32 {message.crc32:08x};"
                        f" {picture.rows_held} rows, {picture.checksum:08x} arrived"
                    )
                picture.milliseconds = message.milliseconds
                self._end(slot)
                slot.finish(done_reason(message.reason))

    def _accepted(self, slot: Slot, accepted: Accepted) -> None:
        picture = slot.begun
        if picture is None:
            slot.begin(self._new_picture(slot, accepted))
        elif accepted.revision != picture.recipe.revision:
            raise ProtocolError("the server went on with another revision")
        elif accepted.first_row != picture.rows_held:
            raise ProtocolError(f"row {accepted.first_row} follows; {picture.rows_held} are held")
        slot.accept(accepted.position)

    def _new_picture(self, slot: Slot, accepted: Accepted) -> Picture:
        request = slot.generation.request
        model = next((each for each in self.welcome.models if each.name == accepted.model), None)
        if model is None:
            raise ProtocolError(f"a picture by {accepted.model!r}, which was not announced")
        if accepted.image != slot.image:
            raise ProtocolError(f"image {accepted.image} instead of {slot.image}")
        file = detokenizer_file(model, "full", self._precisions)
        picture = Picture(
            Recipe(
                model=accepted.model,
                revision=accepted.revision,
                prompt=request.prompt,
                seed=accepted.seed,
                image=accepted.image,
                sampling=resolve_sampling(request, model),
                rows=accepted.rows,
                cols=accepted.cols,
                id_bytes=accepted.id_bytes,
                detokenizer_sha256=None if file is None else file.sha256,
            ),
            model.codebook_size,
            text_cut=accepted.text_cut,
        )
        if accepted.first_row:
            prefix = request.options.prefix or b""
            picture.add_rows(0, prefix[: accepted.first_row * accepted.cols * accepted.id_bytes])
        if picture.rows_held != accepted.first_row:
            raise ProtocolError(f"rows from {accepted.first_row} on, but the first are not held")
        return picture

    def _error(self, slot: Slot, error: Error) -> None:
        if error.code == ErrorCode.GONE and _holds_all(slot):
            # Only the end itself was lost: there is nothing to recover.
            complete = slot.picture.complete
            slot.finish(DoneReason.COMPLETE if complete else DoneReason.STOP_ROW)
        else:
            kind = PictureGone if error.code == ErrorCode.GONE else RequestRefused
            slot.generation.fail(kind(error.code, error.text, error.retry_ms))
        self._end(slot)  # last: a generation that has ended cannot fail any more

    def _end(self, slot: Slot) -> None:
        self.progress += 1
        slot.ended = True
        self._slots.pop(slot.stream, None)

    def _open(self, generation: Generation) -> None:
        self._slots |= {slot.stream: slot for slot in generation.slots}

    def _free_streams(self, count: int) -> range:
        """The lowest run of free streams: low numbers take one byte less in each frame."""
        first = 0
        while not self._slots.keys().isdisjoint(range(first, first + count)):
            first += 1
        if first + count > MAX_STREAM + 1:
            raise InvalidRequest("no free streams; end some pictures first")
        return range(first, first + count)


def _start_frame(generation: Generation) -> bytes:
    """The `start` of all pictures of a generation."""
    request, stream = generation.request, generation.slots[0].stream
    start = Start(stream, generation.key, request.prompt, request.images, request.options)
    return encode(start)


def _resume_frame(slot: Slot) -> bytes:
    """The frame that takes up one unfinished picture on a new socket."""
    if slot.generation.watched is None and not _holds_all(slot):
        # As its owner: a known picture is attached to, an unknown one drawn on.
        return _restart_frame(slot)
    return _watch_frame(slot)


def _restart_frame(slot: Slot) -> bytes:
    """A `start` of one picture of a generation, with the rows it holds as prefix (R-43)."""
    generation, picture = slot.generation, slot.begun
    options = msgspec.structs.replace(generation.request.options, first_image=slot.image)
    if picture is None:  # but others of its request were accepted: the seed is theirs
        options = msgspec.structs.replace(options, seed=generation.pictures[0].recipe.seed)
    else:
        options = msgspec.structs.replace(
            options,
            model=picture.recipe.model,
            seed=picture.recipe.seed,
            prefix=picture.held_bytes or None,
            revision=picture.recipe.revision,
            **sampling_options(picture.recipe.sampling),
        )
    return encode(Start(slot.stream, generation.key, generation.request.prompt, 1, options))


def _watch_frame(slot: Slot) -> bytes:
    """A `watch` of one picture, from the rows that it holds on."""
    generation, picture = slot.generation, slot.begun
    key = generation.watched or view_key(generation.key)
    held, checksum = (0, 0) if picture is None else (picture.rows_held, picture.checksum)
    return encode(Watch(slot.stream, key, slot.image, held, checksum))


def _holds_all(slot: Slot) -> bool:
    """True if all rows that were asked for have arrived."""
    picture, stop_row = slot.begun, slot.generation.request.options.stop_row
    return picture is not None and picture.rows_held >= (stop_row or picture.recipe.rows)


def _check_announced(model: Model) -> None:
    """Raise ProtocolError where the announced sampling cannot be."""
    ranges = {name: getattr(model.sampling, name) for name in SAMPLING}
    numbers = [number for each in ranges.values() for number in msgspec.structs.astuple(each)]
    if not all(map(math.isfinite, numbers)) or not all(
        0 <= ranges[name].default <= MAX_TOP_K for name, kind in SAMPLING.items() if kind is int
    ):
        raise ProtocolError(f"{model.name} was announced with a sampling that cannot be")
