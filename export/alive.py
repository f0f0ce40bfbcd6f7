"""The code must carry something: its units vary, and different rows get different vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from export.candidate import EMBEDDING, Candidate
from export.models import ENCODER
from export.runtime import Arrays
from pipeline.errors import ParityError

LEAST_ACTIVE_SHARE = 0.5
LEAST_DEVIATION = 1e-3
LARGEST_CROWD_SHARE = 0.5


def check_latents(candidate: Candidate) -> dict[str, Any]:
    """Which units vary, and how many different rows share one vector.

    Judged on held-out rows; on adversarial ones where the held-out rows are all the same.
    """
    varied = [rows for rows in candidate.rows if directions(rows.prepared)]
    rows = varied[0] if varied else candidate.rows[-1]
    embedding = candidate.run(ENCODER, rows.feeds)[EMBEDDING]
    figures = {
        "units": embedding.shape[1],
        "input_directions": min(embedding.shape[1], directions(rows.prepared)),
        "active_units": int((embedding.std(axis=0) > LEAST_DEVIATION).sum()),
        "largest_crowd_share": crowd_share(rows.prepared, embedding),
    }
    least = max(1, LEAST_ACTIVE_SHARE * figures["input_directions"])
    if figures["active_units"] < least:
        raise ParityError(
            f"check 'latents are alive' failed: at least {least:g} of {figures['units']} units "
            f"must vary over {rows.name} rows, found {figures['active_units']}; lower --dim, or "
            "add columns that vary"
        )
    if figures["largest_crowd_share"] > LARGEST_CROWD_SHARE:
        raise ParityError(
            f"check 'latents are alive' failed: different rows must get different vectors, found "
            f"one vector for {figures['largest_crowd_share']:.0%} of {rows.name} rows that differ; "
            "train longer or raise --dim"
        )
    return figures


def directions(prepared: Arrays) -> int:
    """How many units rows can fill by themselves, at most those of a linear code.

    One for each number that varies, and one less than its values for each category.
    """
    numbers, codes = prepared.get("numeric"), prepared.get("codes")
    if not any(map(len, prepared.values())):
        return 0
    varying = 0 if numbers is None else int((np.ptp(numbers, axis=0) > 0).sum())
    values = [] if codes is None else [len(np.unique(column)) - 1 for column in codes.T]
    return varying + sum(values)


def crowd_share(prepared: Arrays, embedding: npt.NDArray[np.float32]) -> float:
    """Of the rows that differ in `prepared`, the largest share that has one and the same vector.

    0 where there is nothing to tell apart.
    """
    joined = np.column_stack([matrix.astype(np.float64) for matrix in prepared.values()])
    _, different = np.unique(joined, axis=0, return_index=True)
    if len(different) < 2:
        return 0.0
    _, crowds = np.unique(embedding[different], axis=0, return_counts=True)
    return float(crowds.max() / len(different))
