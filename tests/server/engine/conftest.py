"""The model that runners are compared on."""

from __future__ import annotations

import pytest
from rowcast_server.models.loading import LoadedModel, load

from tests.support.tiny_model import tiny_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Two heads, and a codebook and inner widths that are no round numbers."""
    folder = tmp_path_factory.mktemp("model")
    return load(str(tiny_model(folder, width=128, codebook_size=203, glu_width=200)))
