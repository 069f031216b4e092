"""Choice of a detokenizer file among those that a server announced for a model.

Knows neither where files are kept nor what is painted with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .messages import DetokenizerFile, Model

# Of detokenizer files, the most exact first. On the CPU ONNX Runtime computes in fp32 whatever the
# file holds, so this is also the order there.
PRECISIONS: Final = ("fp32", "fp16", "int8")


def detokenizer_file(
    model: Model, kind: str, precisions: Sequence[str] = PRECISIONS
) -> DetokenizerFile | None:
    """The announced file of a kind, in the first of these precisions that there is; else None."""
    for precision in precisions:
        for file in model.files:
            if (file.kind, file.precision) == (kind, precision):
                return file
    return None
