"""The prompts that come with Rowcast: many, of all kinds, the same ones everywhere."""

from __future__ import annotations

import hashlib
from itertools import islice

from rowcast.preparing.prompts import COUNT, PLACES, STYLES, SUBJECTS, general_prompts


def test_no_two_are_the_same_and_the_first_few_are_of_all_kinds() -> None:
    prompts = list(general_prompts())
    assert len(prompts) == len(set(prompts)) == COUNT
    assert max(map(len, prompts)) < 100
    first = "\n".join(islice(general_prompts(), 400))
    for kinds in (SUBJECTS, PLACES, STYLES):
        assert [kind for kind in kinds if kind not in first] == []


def test_they_are_the_same_ones_everywhere() -> None:
    """Else a file of grids, begun elsewhere, could not go on."""
    digest = hashlib.sha256("\n".join(general_prompts()).encode()).hexdigest()
    assert digest.startswith("11949edcc1f97001")
