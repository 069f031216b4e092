"""State machines as targets: an input is the seed of so many examples."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from hypothesis import HealthCheck, Verbosity, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.fuzz.target import Target

EXAMPLES: Final = 50  # of an input
STEPS: Final = 60  # of an example, at most
SECONDS: Final = 120.0


def quickly(examples: int, steps: int) -> settings:
    """Settings of a run that is the same each time but for its seed."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        database=None,
        deadline=None,
        print_blob=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )


def batches(machine: type[RuleBasedStateMachine]) -> Target:
    """EXAMPLES of a state machine for each input. An exception has the steps to it, made short."""

    def check(data: bytes) -> str:
        seeded = seed(int.from_bytes(data))(type(machine.__name__, (machine,), {}))
        run_state_machine_as_test(seeded, settings=quickly(EXAMPLES, STEPS))
        return "held"

    def another(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
        return random.randbytes(8)

    return Target(check, lambda: [bytes(8)], another, seconds=SECONDS, engine="plain")
