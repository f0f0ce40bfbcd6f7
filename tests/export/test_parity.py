import numpy as np
import pytest

from export.parity import agree, finite, identical, same, tell_rows
from pipeline.errors import ParityError

ROWS = {"age": np.array([1.0, np.nan, 3.0]), "città": np.array(["Roma", "x" * 99, ""], object)}


def test_the_largest_difference_comes_back() -> None:
    expected = np.array([[1.0], [2.0], [100.0]])
    assert agree("c", expected, expected + 5e-4, rows=ROWS) == pytest.approx(5e-4)


def test_a_difference_is_told_with_its_size_and_its_row() -> None:
    with pytest.raises(ParityError) as refused:
        agree("the check", np.zeros((3, 2)), np.array([[0, 0], [0, 0.25], [0, 0]]), rows=ROWS)
    message = str(refused.value)
    assert message.startswith(
        "check 'the check' failed: values may differ by 1.0e-05, found 2.5e-01"
    )
    assert "in 1 of 3 rows: row 1 (age=nan, città='xxx" in message
    assert len(message) < 200


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_values_that_are_no_numbers_never_agree(wrong: float) -> None:
    with pytest.raises(ParityError, match="row 2"):
        agree("c", np.zeros(3), np.array([0, 0, wrong]), rows=ROWS)
    with pytest.raises(ParityError, match="row 2"):
        finite("c", np.array([[0], [0], [wrong]]), rows=ROWS)


def test_shapes_must_agree() -> None:
    with pytest.raises(ParityError, match=r"shape \(3,\) required, found \(2,\)"):
        agree("c", np.zeros(3), np.zeros(2), rows=ROWS)


def test_no_rows_agree() -> None:
    assert agree("c", np.zeros((0, 4)), np.zeros((0, 4)), rows={}) == 0


def test_the_first_row_that_differs_by_a_bit_is_named() -> None:
    almost = np.nextafter(np.ones(3), 2) * [0, 0, 1] + [1, 1, 0]
    with pytest.raises(ParityError, match=r"'y' must be identical to the last bit.*row 2"):
        same("c", {"y": np.ones(3)}, {"y": almost})


def test_a_nan_is_identical_to_a_nan_and_text_to_text() -> None:
    assert identical(np.array([np.nan]), np.array([np.nan]))
    assert identical(ROWS["città"], ROWS["città"].copy())
    assert not identical(np.zeros(2), np.zeros(3))


def test_many_rows_and_columns_are_cut_short() -> None:
    wide = {f"c{i}": np.zeros(9) for i in range(20)}
    told = tell_rows(np.ones(9, bool), wide)
    assert "… 12 more" in told and told.endswith("; …") and told.count("row ") == 3
