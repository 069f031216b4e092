"""Attributes: the kinds and values that captions name, readers learn and the judge sees."""

from __future__ import annotations

from dataclasses import asdict

from training import scenes
from training.scenes import Scene

ABSENT = "absent"
HEADS: dict[str, tuple[str, ...]] = {  # kind of attribute -> values, as captions name them
    "time": scenes.TIMES,
    "land": scenes.LANDS,
    "clouds": ("clear", "cloudy"),
    "body": (ABSENT, *scenes.BODIES),
    "body side": (ABSENT, *scenes.SIDES),
    "house": (ABSENT, *scenes.HOUSE_COLOURS),
    "house side": (ABSENT, *scenes.HOUSE_SIDES),
    "trees": (ABSENT, *scenes.TREES),
    "tree count": (ABSENT, *scenes.COUNTS),
    "sail": (ABSENT, *scenes.SAIL_COLOURS),
    "balloon": (ABSENT, *scenes.BALLOON_COLOURS),
    "balloon side": (ABSENT, *scenes.SIDES),
}
SIZES = [len(values) for values in HEADS.values()]  # logits of each head, in the order of HEADS
OBJECTS = ("house", "trees", "sail", "balloon")  # absent unless named


def attributes(scene: Scene) -> dict[str, str]:
    """The value of every kind of attribute in the scene."""
    named = {**asdict(scene), "clouds": "cloudy" if scene.cloudy else "clear"}
    return {kind: named[kind.replace(" ", "_")] or ABSENT for kind in HEADS}


def labels(scene: Scene) -> list[int]:
    """The index of each kind's value in HEADS."""
    found = attributes(scene)
    return [values.index(found[kind]) for kind, values in HEADS.items()]


def named_targets(named: dict[str, str]) -> list[int]:
    """The index of what a caption says of each kind: a value, or absent for an object not named.

    -100, which cross-entropy leaves out, where the caption does not say.
    """
    targets = []
    for kind, values in HEADS.items():
        part_of = {"house side": "house", "balloon side": "balloon", "tree count": "trees"}
        if kind in named:
            targets.append(values.index(named[kind]))
        elif kind in OBJECTS or part_of.get(kind, kind) not in {*named, kind}:
            targets.append(values.index(ABSENT))
        else:
            targets.append(-100)
    return targets
