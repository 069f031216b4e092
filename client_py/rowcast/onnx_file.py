"""A decoder's ONNX file on the client: how it is opened, and how it is tested.

Files tell about themselves in their metadata (`rowcast.*`), and carry a self-test: a picture, as a
thumbnail, that a runtime must come near to before it may paint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .devices import CPU, PROVIDERS
from .errors import DetokenizerError

FORMAT: Final = "1"
# What reading metadata that somebody else wrote may raise.
DAMAGE: Final = (KeyError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError)


# What a graph without weights calls the file that they are in (protocol.md, R-88).
WEIGHTS_FILE: Final = "detokenizer.onnx"


@dataclass(frozen=True)
class Weights:
    """A file, or its bytes, that another file takes its weights from; and its checksum."""

    content: Path | bytes
    sha256: bytes

    def read(self) -> NDArray[np.uint8]:
        """All bytes; those of a file are mapped, not read. Raises OSError, ValueError if empty."""
        if isinstance(self.content, bytes):
            return np.frombuffer(self.content, np.uint8)
        return np.memmap(self.content, np.uint8, "r")


def open_file(
    source: Path | str | bytes,
    path: Path,
    threads: int,
    provider: str = CPU,
    weights: Weights | None = None,
) -> tuple[Any, dict[str, str]]:
    """The session and the metadata of a file, or of its bytes; ``path`` is its name in errors.

    ``threads`` bounds what a run takes of the machine. With ``weights`` the file takes its own from
    there and from nowhere else: ONNX Runtime refuses other files, and places outside of this one.
    Raises DetokenizerError.
    """
    import onnxruntime  # here, so that whoever only shows a palette does not wait for it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # failures are raised, and told in our own words
    model: bytes | str = source if isinstance(source, bytes) else str(source)
    try:
        if weights is not None:
            model = source if isinstance(source, bytes) else Path(source).read_bytes()
            content = weights.read()  # ONNX Runtime copies what it takes, into its own layout
            _lend(options, content)
        session = onnxruntime.InferenceSession(
            model,
            options,
            providers=[PROVIDERS[provider]],
            enable_fallback=0,
        )  # (the fallback, to the CPU again, prints on stdout)
    except DetokenizerError:
        raise
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        other = f", or is not for the weights of {weights.sha256.hex()}" if weights else ""
        raise DetokenizerError(f"{path} is no ONNX file, or is damaged{other}: {error}") from error
    try:
        return session, dict(session.get_modelmeta().custom_metadata_map)
    except UnicodeDecodeError as error:
        raise DetokenizerError(f"{path} has damaged metadata: {error}") from error


def _lend(options: Any, content: NDArray[np.uint8]) -> None:
    """Let a session take weights from ``content``, which must live until it is made."""
    lend = getattr(options, "add_external_initializers_from_files_in_memory", None)
    if lend is None:
        import onnxruntime

        raise DetokenizerError(
            f"onnxruntime {onnxruntime.__version__} cannot take a file's weights from another: "
            "pip install --upgrade onnxruntime"
        )
    lend([WEIGHTS_FILE], [content], [len(content)])


def check_thumbnail(
    path: Path, pixels: NDArray[np.uint8], shape: tuple[int, int], test: Mapping[str, Any]
) -> None:
    """Compare the self-test's picture [height, width, 3], which must be of ``shape``, with its
    thumbnail. Raises DetokenizerError where colours differ, ValueError for another shape."""
    if pixels.shape != (*shape, 3):
        raise ValueError(f"a picture of shape {pixels.shape}")
    side = int(str(test["thumbnail_side"]))
    blocks = pixels.astype(np.float64).reshape(side, shape[0] // side, side, shape[1] // side, 3)
    expected = np.array(test["thumbnail"], np.float64).reshape(side, side, 3)
    worst = float(np.abs(blocks.mean((1, 3)) - expected).max())
    if not worst <= float(str(test["tolerance"])):
        raise DetokenizerError(
            f"{path} fails its self-test: colours differ by up to {worst:.1f} of 255"
        )
