"""Codes drawn from what a bundle says of theirs: normal, with the mean and factor of its prior."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.errors import BundleError
from pipeline.manifest import Manifest


class Prior:
    """``mean + factor @ n`` with n ~ N(0, I); N(0, I) itself where a bundle says nothing."""

    def __init__(self, manifest: Manifest) -> None:
        said = getattr(manifest, "prior", None)
        self._dim = manifest.dim
        self._mean = np.zeros(self._dim) if said is None else np.array(said.mean)
        self._factor = np.eye(self._dim) if said is None else np.array(said.factor)
        shapes = (self._mean.shape, self._factor.shape)
        if shapes != ((self._dim,), (self._dim, self._dim)):
            raise BundleError(
                f"a prior of {self._dim} numbers is required, found a mean and a factor of shapes "
                f"{shapes[0]} and {shapes[1]}; do not use this bundle, and ask where it comes from"
            )

    def draw(self, rows: int, random: np.random.Generator) -> npt.NDArray[np.float32]:
        """Codes [rows, d]."""
        normal = random.standard_normal((rows, self._dim))
        return (self._mean + normal @ self._factor.T).astype(np.float32)
