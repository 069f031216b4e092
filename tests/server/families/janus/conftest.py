"""Tiny checkpoints by transformers, and the model that loads from them."""

from __future__ import annotations

from pathlib import Path

import pytest
from rowcast_server.models.loading import Transformer, load_transformer
from rowcast_server.models.sources import find_in

from tests.support.janus import write_port


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_port(tmp_path_factory.mktemp("janus"))


@pytest.fixture(scope="session")
def model(folder: Path) -> Transformer:
    return load_transformer(find_in(folder))
