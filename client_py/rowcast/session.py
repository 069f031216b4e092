"""The client's side of the protocol, without a socket: frames in, notices and frames out.

Both shells (aio.py, sync.py) drive this one session. A `Generation` collects what arrives for the
pictures of one request and hands it out coalesced: whoever decodes slowly sees fewer, larger
steps, always of the newest state, and never a queue of stale ones.
"""

from __future__ import annotations

import copy
import math
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Final, TypedDict

import numpy as np
from numpy.typing import NDArray

from .canvas import Picture, Recipe, Sampling
from .errors import (
    ConnectionFailed,
    ConnectionLost,
    InvalidRequest,
    PictureGone,
    ProtocolError,
    RequestRefused,
    RowcastError,
)
from .messages import (
    KEY_BYTES,
    MAX_SEED,
    MAX_STREAM,
    MAX_TOKEN_CHARACTERS,
    REVISION_BYTES,
    Accepted,
    Cancel,
    CloseCode,
    DetokenizerFile,
    Done,
    DoneReason,
    Error,
    ErrorCode,
    GoAway,
    Hello,
    Model,
    Options,
    Ping,
    Pong,
    Queued,
    Range,
    Rows,
    Start,
    Watch,
    Welcome,
    decode_server,
    done_reason,
    encode,
    view_key,
)

MAX_TOP_K: Final = 2**32 - 1  # what a .rows file can hold


class RequestOptions(TypedDict, total=False):
    """The keyword options of `generate`; what is left out is the server's choice.

    ``seed`` 0 … 2³²−1. ``first_image`` numbers the first picture. ``temperature``, ``top_k`` (0
    keeps all), ``top_p`` and ``guidance`` within the model's ranges. ``stop_row`` draws only the
    first so many rows. ``prefix`` holds the ids of whole rows, little-endian, to continue from.
    ``revision`` (8 bytes) insists on a model's revision.
    """

    model: str | None
    seed: int | None
    first_image: int
    temperature: float | None
    top_k: int | None
    top_p: float | None
    guidance: float | None
    stop_row: int | None
    prefix: bytes | None
    revision: bytes | None


@dataclass(frozen=True)
class Request:
    """``images`` pictures of a prompt, and the options of `RequestOptions`."""

    prompt: str
    images: int = 1
    model: str | None = None
    seed: int | None = None
    first_image: int = 0
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    guidance: float | None = None
    stop_row: int | None = None
    prefix: bytes | None = None
    revision: bytes | None = None

    @classmethod
    def continuing(cls, picture: Picture, row: int | None, seed: int | None) -> Request:
        """Draw on from the first ``row`` rows of a picture; all it holds if None.

        Raises InvalidRequest where those rows are not held, or nothing is left to draw.
        """
        recipe = picture.recipe
        rows = picture.rows_held if row is None else row
        if rows == recipe.rows:
            raise InvalidRequest("the picture is complete; choose the row to draw on from")
        _whole("row", rows, 0, picture.rows_held)
        return cls(
            recipe.prompt,
            model=recipe.model,
            seed=recipe.seed if seed is None else seed,
            first_image=recipe.image,
            prefix=picture.held_bytes[: rows * recipe.cols * recipe.id_bytes] or None,
            revision=recipe.revision,
            **asdict(recipe.sampling),
        )


@dataclass(frozen=True)
class Notice:
    """Something happened to picture number ``index`` of a generation."""

    index: int
    picture: Picture


@dataclass(frozen=True)
class AcceptedNotice(Notice):
    position: int


@dataclass(frozen=True)
class QueuedNotice(Notice):
    position: int


@dataclass(frozen=True)
class RowsNotice(Notice):
    """The rows of ``grid`` [rows held, cols] from ``first_row`` on are new."""

    first_row: int
    grid: NDArray[np.uint32]


@dataclass(frozen=True)
class DoneNotice(Notice):
    reason: DoneReason | int


@dataclass(eq=False)
class _Slot:
    """One picture of a generation: its stream, and what has not been told yet."""

    generation: Generation
    index: int
    stream: int
    image: int
    picture: Picture | None = None
    told_rows: int = 0
    pending: deque[str] = field(default_factory=deque)  # kinds, at most one of each
    position: int = 0
    ended: bool = False

    def note(self, kind: str) -> None:
        if kind not in self.pending:
            self.pending.append(kind)
            self.generation.turn.append(self)
        self.generation.wake()


class Generation:
    """The pictures of one request, as they form.

    `take` hands out what is new, one notice at a time; ``wake`` is called when there may be more.
    """

    def __init__(self, request: Request, key: bytes, streams: range, watched: bytes | None) -> None:
        self.request = request
        self.key = key
        self.watched = watched  # the view key, where somebody else's pictures are watched
        self.wake: Callable[[], None] = lambda: None
        self.turn: deque[_Slot] = deque()
        self.failure: RowcastError | None = None
        self.abandoned = False
        self.slots = [
            _Slot(self, index, stream, request.first_image + index)
            for index, stream in enumerate(streams)
        ]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures accepted so far, with the rows they hold."""
        return tuple(slot.picture for slot in self.slots if slot.picture is not None)

    @property
    def ended(self) -> bool:
        return self.failure is not None or all(slot.ended for slot in self.slots)

    def fail(self, error: RowcastError) -> None:
        """End the generation with an error that carries what was received."""
        if not self.ended:
            error.pictures = self.pictures
            self.failure = error
            self.wake()

    def take(self) -> Notice | None:
        """The next notice, or None if nothing is new.

        Raises the generation's failure once everything that arrived before it has been taken.
        """
        while self.turn:
            slot = self.turn.popleft()
            kind = slot.pending.popleft()
            assert slot.picture is not None
            if kind == "accepted":
                return AcceptedNotice(slot.index, slot.picture, slot.position)
            if kind == "queued":
                return QueuedNotice(slot.index, slot.picture, slot.position)
            if kind == "rows":
                first, slot.told_rows = slot.told_rows, slot.picture.rows_held
                return RowsNotice(slot.index, slot.picture, first, slot.picture.grid)
            assert slot.picture.reason is not None
            return DoneNotice(slot.index, slot.picture, slot.picture.reason)
        if self.failure is not None:
            raise self.failure
        return None


class ClientSession:
    """One logical connection, which may outlive several sockets.

    After a socket is lost, `resume` gives the frames for the next one. Raises InvalidRequest for a
    token that cannot be one. ``progress`` grows with every row and every end that arrives.
    """

    def __init__(self, token: str | None = None, name: str = "rowcast-python") -> None:
        if token is not None:
            _text("token", token)
            if len(token) > MAX_TOKEN_CHARACTERS:
                raise InvalidRequest(f"a token has at most {MAX_TOKEN_CHARACTERS} characters")
        self._hello = Hello(token, name)
        self._slots: dict[int, _Slot] = {}
        self._greeted = False
        self._welcome: Welcome | None = None
        self.progress = 0
        self.going_away_ms: int | None = None

    @property
    def active(self) -> tuple[Generation, ...]:
        """The generations that have not ended and that somebody follows."""
        generations = {id(slot.generation): slot.generation for slot in self._slots.values()}
        return tuple(each for each in generations.values() if not each.abandoned)

    @property
    def welcome(self) -> Welcome:
        """What the server announced. Raises ConnectionFailed before it has."""
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
        """Ask for pictures. Raises InvalidRequest for what this server cannot accept."""
        self._check(request)
        generation = Generation(
            request, secrets.token_bytes(KEY_BYTES), self._free_streams(request.images), None
        )
        frame = self._start_frame(generation, request, None)
        limit = self.welcome.limits.client_frame_bytes
        if len(frame) > limit:
            raise InvalidRequest(f"the request takes {len(frame)} bytes; the limit is {limit}")
        self._open(generation)
        return generation, [frame]

    def watch(
        self, key: bytes, images: int = 1, first_image: int = 0
    ) -> tuple[Generation, list[bytes]]:
        """Watch somebody's pictures by their view key. Raises InvalidRequest."""
        if len(key) != KEY_BYTES:
            raise InvalidRequest(f"a view key has {KEY_BYTES} bytes, not {len(key)}")
        _whole("images", images, 1, self.welcome.limits.streams)
        request = Request("", images=images, first_image=first_image)
        generation = Generation(request, b"", self._free_streams(images), key)
        self._open(generation)
        return generation, [self._watch_frame(slot) for slot in generation.slots]

    def cancel(self, generation: Generation) -> list[bytes]:
        """End what has not ended of a generation: cancels own pictures, leaves watched ones."""
        return [encode(Cancel(slot.stream)) for slot in generation.slots if not slot.ended]

    def abandon(self, generation: Generation) -> None:
        """Tell nobody any more of a generation; late frames for its streams are dropped."""
        generation.abandoned = True
        generation.wake = lambda: None
        generation.turn.clear()

    def resume(self) -> list[bytes]:
        """The frames that take up every unfinished picture on a new socket, after `hello`."""
        frames: list[bytes] = []
        for slot in [slot for slot in self._slots.values() if slot.generation.abandoned]:
            self._end(slot)  # its stream ended with the old socket, and nobody asks for it
        for generation in self.active:
            if generation.watched is None and not generation.pictures:
                # Nobody knows whether it arrived: the same again, with the same key.
                frames.append(self._start_frame(generation, generation.request, None))
            else:
                frames += [self._resume_frame(slot) for slot in generation.slots if not slot.ended]
        return frames

    def close(self) -> list[bytes]:
        """The frames that end whatever is still forming, for which there is no more use."""
        frames = [frame for generation in self.active for frame in self.cancel(generation)]
        self.fail(ConnectionLost("the client was closed"))
        return frames

    def fail(self, error: RowcastError) -> None:
        """The connection is lost for good: every unfinished generation fails."""
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
            case GoAway() as away:
                self.going_away_ms = away.milliseconds
            case Error(stream=None) as error:
                raise ProtocolError(f"the server reports: {error.text} [{error.code}]")
            case Accepted() | Queued() | Rows() | Done() | Error() as message:
                slot = self._slots.get(message.stream or 0)
                if slot is not None:
                    self._receive(slot, message)
            case None | Pong():
                pass
        return []

    def _receive(self, slot: _Slot, message: Accepted | Queued | Rows | Done | Error) -> None:
        match message:
            case Accepted():
                self._accepted(slot, message)
            case Error():
                self._error(slot, message)
            case _ if slot.picture is None:
                raise ProtocolError(f"stream {slot.stream} was not accepted yet")
            case Queued():
                slot.position = message.position
                slot.note("queued")
            case Rows():
                slot.picture.add_rows(message.first_row, message.ids)
                self.progress += 1
                slot.note("rows")
            case Done():
                picture = slot.picture
                if (message.rows, message.crc32) != (picture.rows_held, picture.checksum):
                    raise ProtocolError(
                        f"the picture ended with {message.rows} rows and crc32 {message.crc32:08x};"
                        f" {picture.rows_held} rows, {picture.checksum:08x} arrived"
                    )
                picture.reason = done_reason(message.reason)
                picture.milliseconds = message.milliseconds
                self._end(slot)
                slot.note("done")

    def _accepted(self, slot: _Slot, accepted: Accepted) -> None:
        picture = slot.picture
        if picture is None:
            slot.picture = self._new_picture(slot, accepted)
            slot.told_rows = accepted.first_row
        elif accepted.revision != picture.recipe.revision:
            raise ProtocolError("the server went on with another revision")
        elif accepted.first_row != picture.rows_held:
            raise ProtocolError(f"row {accepted.first_row} follows; {picture.rows_held} are held")
        slot.position = accepted.position
        slot.note("accepted")

    def _new_picture(self, slot: _Slot, accepted: Accepted) -> Picture:
        request = slot.generation.request
        model = next((each for each in self.welcome.models if each.name == accepted.model), None)
        if model is None:
            raise ProtocolError(f"a picture by {accepted.model!r}, which was not announced")
        if accepted.image != slot.image:
            raise ProtocolError(f"image {accepted.image} instead of {slot.image}")
        file = detokenizer_file(model)
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
        )
        if accepted.first_row:
            held = (request.prefix or b"")[: accepted.first_row * accepted.cols * accepted.id_bytes]
            picture.add_rows(0, held)
        if picture.rows_held != accepted.first_row:
            raise ProtocolError(f"rows from {accepted.first_row} on, but the first are not held")
        return picture

    def _error(self, slot: _Slot, error: Error) -> None:
        if error.code == ErrorCode.GONE and slot.picture is not None and self._holds_all(slot):
            # Only the end itself was lost: there is nothing to recover.
            complete = slot.picture.complete
            slot.picture.reason = DoneReason.COMPLETE if complete else DoneReason.STOP_ROW
            slot.note("done")
        else:
            kind = PictureGone if error.code == ErrorCode.GONE else RequestRefused
            slot.generation.fail(kind(error.code, error.text, error.retry_ms))
        self._end(slot)  # last: a generation that has ended cannot fail any more

    def _end(self, slot: _Slot) -> None:
        self.progress += 1
        slot.ended = True
        self._slots.pop(slot.stream, None)

    def _holds_all(self, slot: _Slot) -> bool:
        picture, stop_row = slot.picture, slot.generation.request.stop_row
        return picture is not None and picture.rows_held >= (stop_row or picture.recipe.rows)

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

    def _start_frame(self, generation: Generation, request: Request, slot: _Slot | None) -> bytes:
        """A `start` of one picture of a generation, or of all."""
        stream = (slot or generation.slots[0]).stream
        chosen = {name: getattr(request, name) for name in RequestOptions.__annotations__}
        options = Options(**chosen)
        return encode(Start(stream, generation.key, request.prompt, request.images, options))

    def _resume_frame(self, slot: _Slot) -> bytes:
        if slot.generation.watched is None and not self._holds_all(slot):
            # As its owner: a known picture is attached to, an unknown one drawn on.
            return self._restart_frame(slot)
        return self._watch_frame(slot)

    def _restart_frame(self, slot: _Slot) -> bytes:
        """A `start` of one picture of a generation, with the rows it holds as prefix (R-43)."""
        asked, picture = slot.generation.request, slot.picture
        if picture is None:  # but others of its request were accepted: the seed is theirs
            seed = slot.generation.pictures[0].recipe.seed
            request = replace(asked, images=1, first_image=slot.image, seed=seed)
        else:
            request = replace(
                asked,
                images=1,
                first_image=slot.image,
                model=picture.recipe.model,
                seed=picture.recipe.seed,
                prefix=picture.held_bytes or None,
                revision=picture.recipe.revision,
                **asdict(picture.recipe.sampling),
            )
        return self._start_frame(slot.generation, request, slot)

    def _watch_frame(self, slot: _Slot) -> bytes:
        generation, picture = slot.generation, slot.picture
        key = generation.watched or view_key(generation.key)
        held, checksum = (0, 0) if picture is None else (picture.rows_held, picture.checksum)
        return encode(Watch(slot.stream, key, slot.image, held, checksum))

    def _check(self, request: Request) -> None:
        limits, model = self.welcome.limits, self.model(request.model)
        if not request.prompt.strip():
            raise InvalidRequest("the prompt is empty")
        size = len(_text("prompt", request.prompt))
        if size > limits.prompt_bytes:
            raise InvalidRequest(
                f"the prompt has {size} bytes; the server takes at most {limits.prompt_bytes}"
            )
        _whole("images", request.images, 1, limits.images)
        _whole("first_image", request.first_image, 0, MAX_STREAM - request.images + 1)
        if request.seed is not None:
            _whole("seed", request.seed, 0, MAX_SEED)
        if request.stop_row is not None:
            _whole("stop_row", request.stop_row, 1, model.rows)
        if request.top_k is not None:
            _whole("top_k", request.top_k, 0, MAX_TOP_K)
        for name in ("temperature", "top_k", "top_p", "guidance"):
            value, allowed = getattr(request, name), getattr(model.sampling, name)
            if value is not None:
                _in_range(name, value, allowed)
        if request.revision is not None and len(request.revision) != REVISION_BYTES:
            raise InvalidRequest(
                f"a revision has {REVISION_BYTES} bytes, not {len(request.revision)}"
            )


def detokenizer_file(model: Model) -> DetokenizerFile | None:
    """The file to decode with, of those announced; None where there is none that we know."""
    for file in model.files:
        if (file.kind, file.precision) == ("full", "fp32"):
            return file
    return None


def _check_announced(model: Model) -> None:
    """Raises ProtocolError where the announced sampling is none."""
    sampling = model.sampling
    numbers = [
        number
        for each in (sampling.temperature, sampling.top_k, sampling.top_p, sampling.guidance)
        for number in (each.default, each.low, each.high)
    ]
    if not all(map(math.isfinite, numbers)) or not 0 <= sampling.top_k.default <= MAX_TOP_K:
        raise ProtocolError(f"{model.name} was announced with a sampling that cannot be")


def resolve_sampling(request: Request, model: Model) -> Sampling:
    """The sampling that a server with these defaults uses for a request."""

    def resolve(name: str) -> float:
        value: float | None = getattr(request, name)
        if value is not None:
            return value
        default: float = getattr(model.sampling, name).default
        return default

    return Sampling(
        temperature=float(resolve("temperature")),
        top_k=int(resolve("top_k")),
        top_p=float(resolve("top_p")),
        guidance=float(resolve("guidance")),
    )


def closed_text(code: int | None, reason: str) -> str:
    """What a closed connection means to a caller, by its close code (protocol.md section 7)."""
    known = {
        CloseCode.BAD_TOKEN: "the server refused the token; pass the right one with token=",
        CloseCode.VERSION: "the server speaks another version of the protocol",
        CloseCode.TOO_SLOW: "the server closed the connection: this client read too slowly",
        CloseCode.LIMIT: "a message was larger than the server takes",
        CloseCode.RATE_LIMITED: "the server asks to slow down",
    }
    if code is None or code == 1006:
        return "the connection broke"
    text = next((text for one, text in known.items() if one == code), "the server closed it")
    return f"{text} (close code {code}{f': {reason}' if reason else ''})"


def _text(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"the {name} is no valid text: {error}") from error


def _whole(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidRequest(f"{name} must be a whole number from {low} to {high}, not {value!r}")


def _in_range(name: str, value: float, allowed: Range) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not allowed.low <= value <= allowed.high:  # NaN is in no range
        raise InvalidRequest(
            f"{name} must be from {allowed.low:g} to {allowed.high:g}, not {value!r}"
        )
