"""A certificate, and clients that trust it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.front import Certificate, make_certificate


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(autouse=True)
def trusted(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a proxy."""
    return tmp_path / "front"
