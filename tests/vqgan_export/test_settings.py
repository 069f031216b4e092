"""Who decides the name, the epsilon and the value range: the checkpoint, the caller, a default."""

from __future__ import annotations

import subprocess
import sys

import pytest
from rowcast_export.errors import SettingsError
from rowcast_export.settings import Settings, assumed, parse_epsilon, parse_range, settle


def test_defaults_are_those_of_min_dalle() -> None:
    assert settle({}, Settings("file")) == Settings("file", 1e-5, (0.0, 1.0))


def test_the_caller_decides_where_the_checkpoint_is_silent() -> None:
    settings = settle(
        {}, Settings("file"), "mine", group_norm_epsilon=1e-6, value_range=(-1.0, 1.0)
    )
    assert settings == Settings("mine", 1e-6, (-1.0, 1.0))


def test_the_checkpoint_decides_where_it_speaks() -> None:
    notes = {"name": "postcard", "group_norm_epsilon": "1e-06", "value_range": "-1..1"}
    assert settle(notes, Settings("file")) == Settings("postcard", 1e-6, (-1.0, 1.0))
    assert settle(notes, Settings("file"), name="mine", group_norm_epsilon=1e-6).name == "mine"


def test_checkpoint_and_caller_must_not_disagree() -> None:
    words = "group_norm_epsilon is 1e-06, not 1e-05; leave out --group-norm-epsilon"
    with pytest.raises(SettingsError, match=words):
        settle({"group_norm_epsilon": "1e-06"}, Settings("file"), group_norm_epsilon=1e-5)
    with pytest.raises(SettingsError, match=r"value_range is 0\.\.1"):
        settle({"value_range": "0..1"}, Settings("file"), value_range=(-1.0, 1.0))


def test_what_nobody_said_is_told() -> None:
    settings = Settings("file", 1e-6, (-1.0, 1.0))
    epsilon, groups = "--group-norm-epsilon 1e-06", "norms in 32 groups"
    assert assumed({}, settings, ()) == f"--value-range -1..1, {epsilon}, {groups}"
    assert assumed({"group_norm_epsilon": "1e-06"}, settings, ["value_range"]) == groups
    notes = {"group_norm_epsilon": "1e-06", "value_range": "-1..1", "norm_groups": "32"}
    assert assumed(notes, settings, ()) == ""


def test_a_checkpoint_that_talks_nonsense_is_refused() -> None:
    with pytest.raises(SettingsError, match="group_norm_epsilon makes no sense"):
        settle({"group_norm_epsilon": "small"}, Settings("file"))


@pytest.mark.parametrize("text", ["0", "-1e-6", "nan", "1", "x"])
def test_an_epsilon_is_a_small_positive_number(text: str) -> None:
    assert parse_epsilon("1e-6") == 1e-6
    with pytest.raises(ValueError, match=r".+"):
        parse_epsilon(text)


@pytest.mark.parametrize("text", ["1", "1..0", "0..0", "0..inf", "a..b", "nan..1"])
def test_a_range_rises(text: str) -> None:
    assert parse_range("-1..1") == (-1.0, 1.0)
    with pytest.raises(ValueError, match=r".+"):
        parse_range(text)


def test_the_command_line_needs_no_torch_until_it_runs() -> None:
    script = "import sys, rowcast_export.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
