"""A small run of each target, the same each time; `make fuzz` has the long ones."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from random import Random

import msgpack
import pytest
from hypothesis import seed
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.fuzz.engines import plain
from tests.fuzz.machines.batches import quickly
from tests.fuzz.machines.both_sessions import LinkMachine
from tests.fuzz.machines.client_session import ClientMachine
from tests.fuzz.machines.server_session import ServerMachine
from tests.fuzz.messagepack import elements, mutate
from tests.fuzz.target import MODULES, target

DECODERS = [name for name, module in MODULES.items() if module.startswith("targets")]
# What says that an input came through, in the outcomes of each.
TAKEN = {
    "decode_client": "Watch",
    "decode_server": "Accepted",
    "agreement": "Start",
    "rows_file": "None 2",
    "request_head": "True 1 False",
    "visitors": "True False True",
    "tokens": "signed True True",
    "palette": "a palette of (6, 2, 2, 3)",
    "metadata": "True 7",
    "share_link": "1 True",
}


@pytest.mark.parametrize("name", DECODERS)
def test_nothing_unexpected_comes_of_inputs_that_are_changed(name: str) -> None:
    outcomes: Counter[str] = Counter()
    aim = target(name)

    def check(data: bytes) -> str:
        outcome = aim.check(data)
        outcomes[outcome] += 1
        return outcome

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Of what another test left behind, and the collector happens to find here.
        warnings.simplefilter("default", ResourceWarning)
        plain(replace(aim, check=check), lambda data: None, seed=1, runs=1_500)
    assert outcomes.total() == 1_500
    seeds = len(aim.seeds())
    assert outcomes[TAKEN[name]] > sum(aim.check(each) == TAKEN[name] for each in aim.seeds())
    assert outcomes.most_common()[0][1] < 1_500 - seeds, "all changed inputs end alike"


@pytest.mark.parametrize("machine", [ServerMachine, ClientMachine, LinkMachine])
def test_sessions_keep_what_the_protocol_says(machine: type[RuleBasedStateMachine]) -> None:
    run_state_machine_as_test(seed(2)(machine), settings=quickly(examples=15, steps=40))


def test_most_changes_leave_messagepack_that_can_be_read() -> None:
    """Else only the first check of a decoder would be tried."""
    random, seeds, whole = Random(1), target("decode_client").seeds(), 0
    seeds = [data for data in seeds if elements(data)]
    for number in range(400):
        data = mutate(random, seeds[number % len(seeds)], seeds)
        try:
            msgpack.unpackb(
                data, strict_map_key=False, unicode_errors="replace", object_pairs_hook=tuple
            )
        except (ValueError, msgpack.UnpackException):
            continue
        whole += 1
    assert whole > 200


def test_an_ignored_extension_of_the_type_of_timestamps_may_have_any_length() -> None:
    """As it came up: `msgpack` reads timestamps, and of 127 bytes there is none (R-91)."""
    ignored = bytes.fromhex("92ccffc77fff") + bytes(127)
    assert target("agreement").check(b"\0" + ignored) == "R-91"
