"""Codes drawn from a bundle's prior, for rows of which a decoder is told something."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.manifest import Prior, Spread, Stratum

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


class Spreads:
    """Draws embeddings: of rows in a stratum by its own spread, of all others by that of all rows.

    Without a prior they are N(0, I).
    """

    def __init__(self, prior: Prior | None, *, dim: int) -> None:
        self._dim = dim
        self._whole = (np.zeros(dim), np.eye(dim)) if prior is None else _arrays(prior)
        strata: tuple[Stratum, ...] = () if prior is None else prior.strata
        self._strata = [(np.array(one.codes), *_arrays(one)) for one in strata]

    def draw(self, told: Codes, random: np.random.Generator) -> npt.NDArray[np.float32]:
        """One embedding [N, d] for every row of prepared conditions `told` [N, H]."""
        normal = random.standard_normal((len(told), self._dim))
        mean, factor = self._whole
        found = mean + normal @ factor.T
        for codes, mean, factor in self._strata:
            if len(codes) == told.shape[1]:
                own = (told == codes).all(axis=1)
                found[own] = mean + normal[own] @ factor.T
        return found.astype(np.float32)


def shares_of(prior: Prior | None) -> dict[int, float]:
    """The share of rows by the code of what a decoder is told, where that is one class a row."""
    strata = () if prior is None else prior.strata
    return {one.codes[0]: one.share for one in strata if len(one.codes) == 1}


def _arrays(spread: Spread) -> tuple[Floats, Floats]:
    return np.array(spread.mean), np.array(spread.factor)
