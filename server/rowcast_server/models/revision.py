"""The revision of a model: eight bytes that name the pictures it draws.

Two servers of one revision draw the same ids for the same request, so a picture can be continued
from the rows of another server.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from rowcast.messages import REVISION_BYTES

from ..network.facts import SAMPLER_VERSION
from .client_files import file_sha256

PLAIN: Final = "float32"  # the variant that the model's own revision names


def revision_of(digest: bytes, vocabulary: Path, merges: Path, start_token: int) -> bytes:
    """The revision of weights with this digest, drawn from a text and a start token in float32."""
    revision = hashlib.sha256(f"sampler {SAMPLER_VERSION} start {start_token}".encode())
    for part in (digest, file_sha256(vocabulary), file_sha256(merges)):
        revision.update(part)
    return revision.digest()[:REVISION_BYTES]


def revision_in(variant: str, revision: bytes) -> bytes:
    """The revision of a model in a variant (`Placement.variant`): another rounding of logits may
    draw other pictures."""
    if variant == PLAIN:
        return revision
    return hashlib.sha256(revision + variant.encode()).digest()[:REVISION_BYTES]
