"""The loader of a server's tiers of pixels: files fetched in turn, the cheapest first.

The first tier is there when `load` returns; the others come in a thread of their own, and whoever
listens is told of each. Which pictures are painted, and when, is easel.py's business.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from ..errors import DetokenizerError, InvalidRequest, RowcastError
from ..messages import DetokenizerFile, Model
from ..picture import PRECISIONS, Picture, detokenizer_file
from ..requests import Token
from .artifacts import is_cached, obtain
from .devices import CPU, GPU_PRECISIONS, usable
from .download import Progress
from .network import Proxy, redacted
from .tiers import TIERS, WHILE_FORMING, Decoder, Tier, load_tier

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 2.0
# Of a first picture, before the background takes a core to load decoders with.
HEAD_START_SECONDS = 0.1


class TierLoader:
    """The tiers that the pictures of one server are painted with, as far as they are loaded.

    The arguments are those of `connect`. ``precisions`` is the order in which a file's precision is
    chosen, ``last_name`` the tier that finished pictures are painted with; ``listeners`` are
    called, from any thread, when a tier is loaded or failed. Raises InvalidRequest for an unknown
    quality or provider, DetokenizerError where ONNX Runtime offers none of the providers.
    """

    def __init__(
        self,
        url: str,
        cache: Path | str | None = None,
        allowed_hosts: Collection[str] = (),
        progress: Progress | None = None,
        threads: int = 1,
        quality: str = TIERS[-1],
        providers: Sequence[str] = (CPU,),
        proxy: Proxy = None,
        token: Token = None,
    ) -> None:
        if isinstance(allowed_hosts, str):
            raise InvalidRequest(f"allowed_hosts are several: [{allowed_hosts!r}]")
        if quality not in TIERS:
            raise InvalidRequest(f"quality must be one of {', '.join(TIERS)}, not {quality!r}")
        self._providers = usable(providers)
        self.precisions = PRECISIONS if self._providers[0] == CPU else GPU_PRECISIONS
        self._url = url
        self._cache = cache
        self._allowed_hosts = allowed_hosts
        self._progress = progress
        self._threads = threads
        self._quality = quality
        self._proxy = proxy
        self._token = token
        self._model: Model | None = None
        self._missing: list[DetokenizerFile] = []  # not loaded yet, the next one first
        self._tiers: dict[str, Tier] = {}
        self.last_name = quality  # of the tier that finished pictures are painted with
        self._failure: RowcastError | None = None
        self.listeners: set[Callable[[], None]] = set()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def load(self, model: Model) -> None:
        """Fetch and load the first file, load what is cached, and begin to fetch the others.

        Raises DetokenizerError.
        """
        kinds = TIERS[: TIERS.index(self._quality) + 1]
        precisions = {"palette": ("uint8",)}
        found = [
            detokenizer_file(model, kind, precisions.get(kind, self.precisions)) for kind in kinds
        ]
        self._missing = [file for file in found if file is not None]
        if found[-1] is None and (not self._missing or self._quality == "full"):
            offered = ", ".join(f"{file.kind} {file.precision}" for file in model.files) or "none"
            raise DetokenizerError(
                f"the server offers no {self._quality} detokenizer that this client knows for "
                f"{model.name}: {offered}; choose another quality, or decode=False for ids alone"
            )
        self._model = model
        self.last_name = self._missing[-1].kind
        self._load_next()
        self._load_kept()
        self.go_on()

    def _load_kept(self) -> None:
        """Load cached files now: beside a first picture that would take the cores from it."""
        while self._missing:
            file = self._missing[0]
            if not is_cached(file, self._cache):
                return
            try:
                self._load_next()
            except RowcastError:
                return  # the background fetches it anew, or tells

    def go_on(self) -> None:
        """Fetch what is missing, in the background; a file that failed is tried again."""
        is_idle = self._failure is not None or not self.is_loading
        if self._missing and is_idle and not self.is_closed:
            self._failure = None
            # A daemon, so that a server that falls silent does not keep a program from its end.
            self._thread = threading.Thread(
                target=self._load_rest, name="rowcast-fetch", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Begin to shut down: stop fetching, wake all who wait."""
        self._closing.set()
        self._notify()

    def close(self) -> None:
        """Shut down, in up to CLOSE_SECONDS. The next client resumes a download that is cut off."""
        self.stop()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    @property
    def is_closed(self) -> bool:
        """True once `stop` was called."""
        return self._closing.is_set()

    @property
    def is_loading(self) -> bool:
        """True while files are fetched in the background."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def palette(self) -> Decoder | None:
        """The palette, which paints at once; None if it is not loaded."""
        tier = self._tiers.get("palette")
        return None if tier is None else tier.decoder

    @property
    def detokenizer(self) -> Decoder | None:
        """The decoder of finished pictures; None until its file is loaded."""
        tier = self._tiers.get(self.last_name)
        return None if tier is None else tier.decoder

    @property
    def descriptions(self) -> tuple[str, ...]:
        """The tiers that are loaded, the best last, such as ``full fp32 on cpu``."""
        return tuple(self._tiers[name].description for name in TIERS if name in self._tiers)

    def tier(self, is_whole: bool) -> Tier | None:
        """The tier to decode a whole picture with, or one that forms; None if none is there.

        Never the palette: it has painted already.
        """
        names = [self.last_name, *WHILE_FORMING] if is_whole else WHILE_FORMING
        for name in names:
            if name in self._tiers and name != "palette":
                return self._tiers[name]
        return None

    def add(self, tier: Tier) -> None:
        """Use one more tier from now on; pictures that it paints better are painted anew."""
        self._tiers = self._tiers | {tier.name: tier}
        self._notify()

    def drop(self, tier: Tier, error: DetokenizerError) -> None:
        """Do without a tier that failed; raises its error if finished pictures need it."""
        if tier.name == self.last_name:
            raise error
        logger.warning("%s; going on without the %s", error, tier.name)
        self._tiers = {name: each for name, each in self._tiers.items() if each is not tier}
        self._notify()

    def check(self, picture: Picture) -> None:
        """Raise DetokenizerError for a picture of another model than `load` was given."""
        if self._model is None or picture.recipe.model != self._model.name:
            name = "none" if self._model is None else self._model.name
            raise DetokenizerError(
                f"this client paints pictures of {name}, not of {picture.recipe.model}; "
                "open it with decode=False to receive their ids"
            )

    def check_last(self) -> None:
        """Raise DetokenizerError if the file that finished pictures are painted with has failed."""
        if self._failure is not None and self.last_name not in self._tiers:
            raise copy.copy(self._failure)  # each request's carries its own pictures

    def _notify(self) -> None:
        for listener in [*self.listeners]:
            listener()

    def _load_rest(self) -> None:
        self._closing.wait(HEAD_START_SECONDS)
        while self._missing and not self.is_closed:
            file = self._missing[0]
            try:
                self._load_next()
            except _Closed:
                return
            except Exception as error:  # in a thread: whatever it is must reach whoever waits
                if not isinstance(error, RowcastError):
                    error = DetokenizerError(f"{redacted(file.url)} cannot be loaded: {error!r}")
                if file.kind == self.last_name:
                    self._failure = error
                    self._notify()
                    return
                logger.warning("%s; going on without the %s", error, file.kind)
                self._missing.remove(file)

    def _load_next(self) -> None:
        assert self._model is not None
        file = self._missing[0]
        content = obtain(
            file,
            self._url,
            self._allowed_hosts,
            self._cache,
            self._tell,
            self._proxy,
            self._token,
        )
        if self.is_closed:
            raise _Closed
        tier = load_tier(file, content, self._model, self._threads, self._providers)
        self._missing.pop(0)
        self.add(tier)

    def _tell(self, received: int, announced: int) -> None:
        if self.is_closed:
            raise _Closed
        if self._progress is not None:
            self._progress(received, announced)


class _Closed(Exception):
    """The client was closed while a file was being fetched."""
