"""Files that a command saves pictures in: their formats, their names, what is there in the end.

A name that is taken is never used again, unless overwriting is asked for: numbers go on where the
folder ends. The tokens of all pictures are written before the first is painted: they cannot be made
again, the others can.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from PIL import Image

from ..picture import Picture
from ..pixels.images import save_gif, save_png
from ..pixels.mosaic import Mosaic
from ..pixels.tiers import Decoder
from ..rows_file import save_rows
from ..whole_files import whole_file

ROWS: Final = "rows"
FORMATS: Final = ("png", "gif", "webp", ROWS)  # in the order in which they are told
DEFAULT_FORMATS: Final = ("png", "gif", ROWS)
NUMBERED: Final = "image"  # every picture of a prompt; others have a number only if they need one
MOSAIC: Final = "mosaic"


class PictureFiles:
    """The files of one run in one folder.

    ``files`` are those that are there, by the path that they share but for its suffix, and
    ``pictures`` what they are of. ``on_file`` is called with each path before it is written.
    """

    def __init__(
        self, folder: Path, formats: Sequence[str] = DEFAULT_FORMATS, overwrite: bool = False
    ) -> None:
        self.files: dict[Path, list[str]] = {}
        self.pictures: dict[Path, Picture] = {}
        self._stems: dict[int, Path] = {}
        self.on_file: Callable[[object], None] = lambda path: None
        self._folder = folder
        self._formats = formats
        self._overwrite = overwrite
        self._least = 0  # the number that the next has at least

    def of(self, picture: Picture) -> list[str]:
        """The files of a picture that are there, in the order in which they are told."""
        return self.files.get(self._stems.get(id(picture), Path()), [])

    def prepare(self) -> None:
        """Make the folder. Raises OSError: what could not be saved is not to be drawn."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=self._folder):
            pass

    def save(self, named: Sequence[tuple[str, Picture | None]], decoder: Decoder | None) -> None:
        """Write pictures under their names; of one without a row, nothing, and its number is left
        out: that of the next does not depend on it.

        Without a decoder it is the tokens, whatever the formats. Raises OSError, naming the file,
        and DetokenizerError; `files` has what is there.
        """
        with contextlib.ExitStack() as claims:
            pictures = []
            for name, picture in named:
                if picture is not None and picture.rows_held:
                    pictures.append((claims.enter_context(self._claimed(name)), picture))
                elif name == NUMBERED:
                    numbers = itertools.count(self._first(name))
                    free = (n for n in numbers if self._stem(name, n) not in self.files)
                    self._least = next(free) + 1
            self.pictures |= pictures
            self._stems |= {id(picture): stem for stem, picture in pictures}
            if ROWS in self._formats or decoder is None:
                for stem, picture in pictures:
                    path = self._next(stem, ROWS)
                    save_rows(picture, path)
                    self.files[stem].append(str(path))
            if decoder is not None:
                for stem, picture in pictures:
                    self._paint(stem, Mosaic.of([picture]), picture, decoder)

    def save_mosaic(
        self, pictures: Mapping[int, Picture], count: int, decoder: Decoder | None
    ) -> list[str]:
        """Write ``count`` pictures, as far as they came, joined as one. Raises as `save`."""
        if decoder is None or not any(each.rows_held for each in pictures.values()):
            return []
        mosaic = Mosaic(count)
        for index, picture in pictures.items():
            mosaic.place(index, picture)
        with self._claimed(MOSAIC) as stem:
            first, grid = pictures[min(pictures)], (mosaic.rows, mosaic.columns)
            self._paint(stem, mosaic, first, decoder, grid)
        return self.files.get(stem, [])

    def _paint(
        self,
        stem: Path,
        mosaic: Mosaic,
        first: Picture,
        decoder: Decoder,
        grid: tuple[int, int] | None = None,
    ) -> None:
        """Write the images of a mosaic, of one picture or of several joined as ``grid``."""
        image = mosaic.paint(decoder)
        assert image is not None  # there is a row
        for number, kind in enumerate(each for each in FORMATS[:-1] if each in self._formats):
            path = self._next(stem, kind)
            match kind:
                case "png":
                    save_png(image, first, path, grid)
                case "gif":
                    save_gif(mosaic.time_lapse(decoder), path)
                case _:
                    save_webp(image, path)
            self.files[stem].insert(number, str(path))

    def _next(self, stem: Path, kind: str) -> Path:
        path = Path(f"{stem}.{kind}")
        self.on_file(path)
        return path

    @contextlib.contextmanager
    def _claimed(self, name: str) -> Iterator[Path]:
        """A path without suffix that no file has: an empty file keeps it until one of ours does."""
        keeper: Path | None = None
        for number in itertools.count(self._first(name)):
            stem = self._stem(name, number)
            if stem in self.files:
                continue
            if self._overwrite:
                break
            if any(self._folder.glob(f"{glob.escape(stem.name)}.*")):
                continue
            try:
                keeper = Path(f"{stem}.{self._formats[-1]}")
                keeper.open("xb").close()
                break
            except FileExistsError:  # another run is faster
                continue
        self.files[stem] = []
        try:
            yield stem
        finally:
            if not self.files[stem]:
                del self.files[stem]
            if keeper is not None:
                with contextlib.suppress(OSError):
                    if not keeper.stat().st_size:
                        keeper.unlink()

    def _stem(self, name: str, number: int) -> Path:
        return self._folder / (f"{name}-{number}" if name == NUMBERED or number else name)

    def _first(self, name: str) -> int:
        """The number to begin with: one more than the highest of the folder, or left out."""
        if name != NUMBERED:
            return 0
        if self._overwrite:
            return self._least
        numbered = re.compile(rf"{NUMBERED}-(\d{{1,9}})\..+")
        found = (numbered.fullmatch(path.name) for path in self._folder.iterdir())
        return max([self._least, *(int(each[1]) + 1 for each in found if each)])


def save_webp(image: Image.Image, path: Path) -> None:
    """Write the picture as lossless WebP. Raises OSError."""
    try:
        with whole_file(path) as partial:
            image.save(partial, format="WEBP", lossless=True)
    except ValueError as error:  # a side of more than 16,383 pixels
        raise OSError(errno.EFBIG, str(error), str(path)) from error
