"""Columns that tell nothing of a label are shut, others are not."""

import numpy as np
import pytest
import torch

from training.autoencoder import Autoencoder
from training.layout import Layout
from training.matrix import Matrix
from training.recipes import concrete
from training.screening import SHUT, unit_gates
from training.targets import heads_of

ROWS = 1500


def layout(columns: int) -> Layout:
    units = tuple(range(columns))
    no, one = (False,) * columns, (1.0,) * columns
    return Layout(
        numeric_units=units, ranked_units=units, code_units=(), units=columns, binary=no,
        numeric_missing=(-1,) * columns, ranked_missing=(-1,) * columns, numeric_weights=one,
        ranked_weights=one, reranked=(True,) * columns, waves=no, cardinalities=(), classes=(),
    )  # fmt: skip


def gates(columns: int, *, told=lambda x: x[:, 0] * x[:, 1] > 0):
    values = np.random.default_rng(0).normal(size=(ROWS, columns)).astype(np.float32)
    labels = np.asarray(told(values), np.float64)[:, None]
    split = np.zeros(ROWS, np.uint8)
    matrix = Matrix(values, values, np.zeros((ROWS, 0), np.int32), labels, split)
    return unit_gates(matrix, layout(columns), heads_of(labels, ["label"]), seed=0)


def test_noise_is_not_read_where_most_columns_are_noise():
    found = gates(30, told=lambda x: x[:, 0] + x[:, 1] > 0)
    assert (found[:2] > 0.5).all()
    assert (found[2:] == 0).mean() > 0.9


def test_columns_that_tell_something_together_alone_are_kept():
    found = gates(4)
    assert (found[:2] > 0.5).all()


def test_noise_among_few_columns_is_only_quieter():
    found = gates(4)
    assert found[2:] == pytest.approx(SHUT)
    assert found[:2].min() > 2 * SHUT


def test_a_number_is_screened_as_a_class_is():
    found = gates(30, told=lambda x: 3 * x[:, 0] - x[:, 1])
    assert found[0] > found[1] > 0
    assert (found[2:] == 0).mean() > 0.9


def test_gates_reach_every_view_of_a_column():
    model = Autoencoder(concrete("supervised", dim=2), layout(3))
    model.shut(torch.tensor([0.0, 1.0, 1.0]))
    rows = torch.randn((2, 5, 3), generator=torch.Generator().manual_seed(0))
    other = rows.clone()
    other[:, :, 0] = 3.0
    none = torch.zeros((5, 0), dtype=torch.int64)
    with torch.no_grad():
        codes = [model.raw_code(*parts, none) for parts in (rows, other)]
        other[:, :, 1] = 3.0
        moved = model.raw_code(*other, none)
    assert torch.equal(*codes)
    assert not torch.equal(codes[0], moved)
