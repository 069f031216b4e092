"""ONNX Runtime's execution providers by short names, and the precisions of a file that suit them.

ONNX Runtime is imported here when it is asked what it offers, and in onnx_file.py when a file is
loaded; never before, so that a palette paints first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..errors import DetokenizerError, InvalidRequest
from .runtime import import_onnxruntime

CPU: Final = "cpu"
PROVIDERS: Final = {
    CPU: "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
# The best first: a GPU computes fp16 at twice the speed, from half the bytes.
GPU_PRECISIONS: Final = ("fp16", "fp32", "int8")


def usable(providers: Sequence[str]) -> tuple[str, ...]:
    """The providers that ONNX Runtime offers here, in the same order.

    Raises InvalidRequest for a name that is not one of PROVIDERS, DetokenizerError where it offers
    none.
    """
    if isinstance(providers, str) or not providers or not {*providers} <= PROVIDERS.keys():
        raise InvalidRequest(
            f"providers must be some of {', '.join(PROVIDERS)}, the best first, not {providers!r}"
        )
    if tuple(providers) == (CPU,):
        return (CPU,)  # always there
    offered = import_onnxruntime().get_available_providers()
    found = tuple(name for name in providers if PROVIDERS[name] in offered)
    if not found:
        raise DetokenizerError(
            f"ONNX Runtime offers none of {', '.join(providers)} here, only {', '.join(offered)}; "
            "install the build for your device, or add 'cpu' to the providers"
        )
    return found
