import numpy as np
import pytest

from export.alive import crowd_share, directions

NUMERIC = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [2.0, 1.0]], np.float32)
CODES = np.array([[3], [3], [4], [5]])


@pytest.mark.parametrize(
    ("prepared", "found"),
    [
        ({"numeric": NUMERIC}, 1),
        ({"codes": CODES}, 2),
        ({"numeric": NUMERIC, "codes": CODES}, 3),
        ({"numeric": NUMERIC[:1]}, 0),
        ({"numeric": NUMERIC[:0]}, 0),
    ],
)
def test_a_constant_column_gives_a_code_no_direction(
    prepared: dict[str, np.ndarray], found: int
) -> None:
    assert directions(prepared) == found


def test_equal_rows_with_equal_vectors_are_no_crowd() -> None:
    vectors = np.array([[0.0], [1.0], [2.0], [2.0]], np.float32)
    assert crowd_share({"numeric": NUMERIC}, vectors) == pytest.approx(1 / 3)


def test_different_rows_with_one_vector_are_a_crowd() -> None:
    vectors = np.array([[0.0], [0.0], [1.0], [1.0]], np.float32)
    assert crowd_share({"numeric": NUMERIC}, vectors) == pytest.approx(2 / 3)


def test_one_row_is_never_a_crowd() -> None:
    assert crowd_share({"numeric": NUMERIC[:1]}, np.zeros((1, 4), np.float32)) == 0
