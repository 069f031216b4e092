"""Scenes: the lists of attributes that `postcard`'s training pictures are drawn from.

A `Scene` says everything that is in a picture. `sample_scene` draws one at random. `held_out_pairs`
finds the pairs of attributes that no training scene contains, so that evaluation asks for pictures
never seen.

This module must not know about pixels, captions, tokens or networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TIMES = ("day", "dawn", "sunset", "night")
LANDS = ("mountains", "sea", "meadow", "desert", "hills", "snow")
BODIES = ("sun", "full moon", "crescent moon")
SIDES = ("left", "middle", "right")
HOUSE_SIDES = ("left", "right")
HOUSE_COLOURS = ("red", "orange", "yellow", "blue", "pink", "white")
TREES = ("pine", "round", "palm")
COUNTS = ("one", "two", "three")
SAIL_COLOURS = ("red", "orange", "yellow", "green", "pink", "white")
BALLOON_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")


@dataclass(frozen=True)
class Scene:
    """Everything that is in a picture. `None` means absent; `layout` seeds the places of things."""

    time: str
    land: str
    cloudy: bool
    body: str | None
    body_side: str | None
    house: str | None
    house_side: str | None
    trees: str | None
    tree_count: str | None
    sail: str | None
    balloon: str | None
    balloon_side: str | None
    layout: int


def held_out_pairs(scene: Scene) -> list[tuple[str, str]]:
    """The pairs in the scene that training never sees (of 17), such as ("balloon green", "dawn").

    A pair is of things that share no token: a palm's edge before snow would be a code that training
    never shows, which nobody could draw, however well the words are understood (NOTES.md).
    """
    time, land = TIMES.index(scene.time), LANDS.index(scene.land)
    pairs = []
    if scene.balloon and (BALLOON_COLOURS.index(scene.balloon) + 3 * time) % 8 == 4:
        pairs.append((f"balloon {scene.balloon}", scene.time))
    if scene.house and (HOUSE_COLOURS.index(scene.house) + land) % 6 == 2:
        pairs.append((f"house {scene.house}", scene.land))
    if scene.sail and (SAIL_COLOURS.index(scene.sail) + time) % 6 == 3:
        pairs.append((f"sail {scene.sail}", scene.time))
    if (scene.trees, scene.house) in {("pine", "yellow"), ("round", "red"), ("palm", "blue")}:
        pairs.append((f"trees {scene.trees}", f"house {scene.house}"))
    return pairs


def sample_scene(generator: np.random.Generator, held_out: bool | None = None) -> Scene:
    """A random scene; `held_out` True or False asks for one with, or without, held-out pairs."""
    while True:
        scene = _sample_any(generator)
        if held_out is None or bool(held_out_pairs(scene)) == held_out:
            return scene


def sample_scenes(count: int, seed: int, held_out: bool | None = None) -> list[Scene]:
    """`count` random scenes, the same each time."""
    generator = np.random.default_rng(seed)
    return [sample_scene(generator, held_out) for _ in range(count)]


def _sample_any(generator: np.random.Generator) -> Scene:
    def choose(values: Sequence[str]) -> str:
        return values[int(generator.integers(len(values)))]

    time, land = choose(TIMES), choose(LANDS)
    kinds = ["house", "trees", "balloon"] + (["boat", "boat"] if land == "sea" else [])
    wanted = int(generator.choice([1, 2, 3], p=[0.35, 0.45, 0.20]))
    objects = set(generator.permutation(kinds)[:wanted].tolist())
    if {"boat", "house", "trees"} <= objects:  # the shore has room for one of the two
        objects.discard(choose(("house", "trees")))
    balloon_side = choose(SIDES) if "balloon" in objects else None
    body = body_side = None
    if generator.random() < 0.75:
        body = choose(("full moon", "crescent moon")) if time == "night" else "sun"
        body_side = choose([side for side in SIDES if side != balloon_side])
    return Scene(
        time=time,
        land=land,
        cloudy=bool(generator.random() < 0.5),
        body=body,
        body_side=body_side,
        house=choose(HOUSE_COLOURS) if "house" in objects else None,
        house_side=choose(HOUSE_SIDES) if "house" in objects else None,
        trees=choose(TREES) if "trees" in objects else None,
        tree_count=choose(COUNTS) if "trees" in objects else None,
        sail=choose(SAIL_COLOURS) if "boat" in objects else None,
        balloon=choose(BALLOON_COLOURS) if "balloon" in objects else None,
        balloon_side=balloon_side,
        layout=int(generator.integers(2**31)),
    )
