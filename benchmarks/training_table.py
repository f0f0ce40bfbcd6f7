"""The table of `training_cost.py`: a hundred columns that tell of each other, and a label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from workloads import Workload

FACTORS = 12
NOISE = 0.7
LABEL = "label"
_LOADINGS_SEED = 5

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Related(Workload):
    """Columns made of a few factors and noise, so that there is something to learn."""

    def table(self, rows: int, *, seed: int) -> pa.Table:
        """`rows` random rows; equal seeds give equal rows."""
        fixed = np.random.default_rng(_LOADINGS_SEED)
        columns = self.numeric + len(self.cardinalities)
        loadings = fixed.standard_normal((FACTORS, columns), np.float32) / np.sqrt(FACTORS)
        random = np.random.default_rng(seed)
        factors = random.standard_normal((rows, FACTORS), np.float32)
        values = factors @ loadings + NOISE * random.standard_normal((rows, columns), np.float32)
        made: dict[str, pa.Array] = {"row_id": pa.array(seed * 10**9 + np.arange(rows))}
        for index in range(self.numeric):
            made[f"n{index}"] = self._with_nulls(values[:, index].astype(np.float64), random)
        for index, count in enumerate(self.cardinalities):
            made[f"c{index}"] = self._texts(values[:, self.numeric + index], count, index, random)
        bent = factors[:, 0] * factors[:, 1] + factors[:, 2]
        made[LABEL] = pa.array((bent + random.standard_normal(rows, np.float32) > 0).astype(int))
        return pa.table(made)

    def _with_nulls(self, values: npt.NDArray[np.float64], random: np.random.Generator) -> pa.Array:
        return pa.array(values, mask=random.random(len(values)) < self.null_share)

    def _texts(
        self, values: Floats, count: int, index: int, random: np.random.Generator
    ) -> pa.Array:
        # The cube makes values near the middle frequent, as in real columns.
        share = np.clip(0.5 + values**3 / 16, 0, 0.999)
        codes = (share * count).astype(np.int32)
        texts = pa.array([f"c{index}_{value}" for value in range(count)])
        mask = random.random(len(values)) < self.null_share
        return pa.DictionaryArray.from_arrays(pa.array(codes, mask=mask), texts).cast(pa.string())


TABLE = Related(
    "training", rows=1_000_000, numeric=80, layers=(8,), double=True, null_share=0.05,
    cardinalities=(2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100, 150, 250, 500, 1000),
)  # fmt: skip
