"""The settings that the options of `rowcast serve` become."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rowcast.errors import RowcastError
from rowcast_server import memory
from rowcast_server.config import ServerConfig
from rowcast_server.memory import slot_bytes
from rowcast_server.models.loading import LoadedModel, load
from rowcast_server.network.facts import CacheKind
from rowcast_server.placement import Placement

STATES, KEYS_AND_VALUES = CacheKind.STATES, CacheKind.KEYS_AND_VALUES


@pytest.fixture
def configs(monkeypatch: pytest.MonkeyPatch) -> list[ServerConfig]:
    """The settings of servers that are asked for; none is made."""
    found: list[ServerConfig] = []

    def note(model: LoadedModel, config: ServerConfig, **_: object) -> None:
        found.append(config)
        raise RowcastError("noted")

    monkeypatch.setattr("rowcast_server.server.RowcastServer", note)
    return found


def test_options_become_settings(
    tiny_folder: Path,
    configs: list[ServerConfig],
    refusal: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rowcast_server.serve_options.usable_cores", lambda: 8)
    refusal(tiny_folder, "--device=cpu")
    refusal(
        tiny_folder,
        "--device=cpu,cpu",
        "--dtype=int8",
        "--slots=3",
        "--queue=0",
        "--threads=2",
        "--deadline=0.5e1",
        "--grace=1",
        "--keep=0",
        "--drain=2.5",
        "--public-url=https://pictures.example.org/a/",
    )
    default, other = configs
    assert default == ServerConfig(port=0)
    assert other == ServerConfig(
        port=0,
        placements=(Placement("cpu", "int8"),) * 2,
        slots=3,
        queue_limit=0,
        threads=2,
        deadline=5.0,
        grace=1.0,
        keep=0.0,
        drain=2.5,
        public_url="https://pictures.example.org/a/",
    )


def test_more_threads_than_cores_are_as_many_as_cores(
    tiny_folder: Path,
    configs: list[ServerConfig],
    refusal: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("rowcast_server.serve_options.usable_cores", lambda: 3)
    refusal(tiny_folder, "--device=cpu", "--threads=9999")
    assert configs[0].threads == 3
    assert "--threads 9999: this process may use 3 cores; taking 3" in caplog.text


@pytest.mark.parametrize(
    ("options", "cache"),
    [
        ([], STATES),
        (["--cache=states"], STATES),
        (["--cache=keys-values"], KEYS_AND_VALUES),  # asked for: refused later, with a remedy
    ],
)
def test_states_are_cached_where_keys_and_values_do_not_fit_unless_asked_for(
    tiny_folder: Path,
    configs: list[ServerConfig],
    refusal: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    options: list[str],
    cache: CacheKind,
) -> None:
    decoder = load(str(tiny_folder)).decoder
    enough = 16 * slot_bytes(decoder, Placement(cache=STATES)).all
    monkeypatch.setattr(memory, "_free_bytes", lambda device: enough)
    refusal(tiny_folder, "--device=cpu", *options)
    (config,) = configs
    assert config.placements == (Placement(cache=cache),)
    assert ("caching states instead" in caplog.text) == (not options)
