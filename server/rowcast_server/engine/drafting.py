"""Speculative (Jacobi) decoding: several tokens are guessed, checked in one pass, and kept while
right.

The noise of the Gumbel-max sampler is fixed by a token's position, so the token drawn at a position
is a function of the tokens before it. A guess that this function confirms is the token; the first
one that it contradicts is corrected, and ends the pass. So the ids are those of drawing one by one,
and no draft model is needed: it is the fixed-point iteration of Song et al., "Accelerating
Feedforward Computation via Parallel Nonlinear Equation Solving", ICML 2021.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class Draft:
    """The guesses for one picture, kept from pass to pass. ``cols`` is the width of its grid."""

    cols: int
    _later: dict[int, int] = field(default_factory=dict)  # position -> drawn there, on a guess

    def guess(self, ids: NDArray[np.int64], first: int, count: int) -> NDArray[np.int64]:
        """Guesses [count] for positions first …, from ids [tokens] known before ``first``.

        A guess is the token that the last pass drew there; else the token above; in the first row,
        the token before.
        """
        guessed = np.empty(count, np.int64)
        for index in range(count):
            position = first + index
            above = position - self.cols
            if position in self._later:
                guessed[index] = self._later[position]
            elif above >= first:
                guessed[index] = guessed[above - first]
            elif above >= 0:
                guessed[index] = ids[above]
            elif index:
                guessed[index] = guessed[index - 1]
            else:
                guessed[index] = ids[position - 1] if position else 0
        return guessed

    def accept(self, guessed: NDArray[np.int64], drawn: NDArray[np.int64], first: int) -> int:
        """The number of drawn tokens [count] to keep, at least 1.

        ``drawn[i]`` was drawn after the guesses before i; it is kept while all of them were right.
        """
        right = guessed[:-1] == drawn[:-1]
        kept = 1 + int(np.argmin(np.append(right, False)))
        self._later = {first + index: int(drawn[index]) for index in range(kept, len(drawn))}
        return kept
