import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from training.contest import _LEFT_OUT, _Both

TRAIN, VALIDATION, TEST = 0, 1, 2


class Fixed:
    """A split that gives every row the part it is told."""

    def __init__(self, *parts: int) -> None:
        self._parts = np.array(parts, np.uint8)

    def assign(self, batch: pa.RecordBatch, first_row: int) -> npt.NDArray[np.uint8]:
        return self._parts[first_row : first_row + batch.num_rows]


@pytest.mark.parametrize(
    ("candidate", "current", "part"),
    [
        (TEST, TEST, TEST),
        (TEST, TRAIN, _LEFT_OUT),
        (TEST, VALIDATION, _LEFT_OUT),
        (TRAIN, TEST, TRAIN),
        (VALIDATION, TEST, VALIDATION),
    ],
)
def test_only_rows_that_neither_model_has_seen_are_test_rows(
    candidate: int, current: int, part: int
) -> None:
    batch = pa.RecordBatch.from_pydict({"x": [1.0]})
    assert _Both(Fixed(candidate), Fixed(current)).assign(batch, 0).tolist() == [part]
