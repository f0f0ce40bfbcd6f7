from dataclasses import replace

import numpy as np
import pytest
import torch

from training.corruption import CORRUPTIONS, Corruptor, Rows
from training.layout import Image
from training.loop import to_rows


def corrupted(rows, kind, *, rate=0.5, unknown_rate=0.0, seed=0) -> tuple[Rows, Rows]:
    clean = to_rows(rows.matrix.take(np.arange(300)))
    generator = torch.Generator()
    generator.manual_seed(seed)
    corruptor = Corruptor(rows.layout, kind, rate=rate, unknown_rate=unknown_rate)
    return clean, corruptor(clean, generator)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_shapes_and_types_stay(rows, kind):
    clean, noisy = corrupted(rows, kind, unknown_rate=0.1)
    for before, after in zip(clean, noisy, strict=True):
        assert (before.shape, before.dtype) == (after.shape, after.dtype)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_the_clean_rows_are_not_touched(rows, kind):
    before = to_rows(rows.matrix.take(np.arange(300)))
    clean, _ = corrupted(rows, kind, unknown_rate=0.5)
    assert all(torch.equal(a, b) for a, b in zip(before, clean, strict=True))


def test_swapped_cells_hold_values_of_the_same_column(rows):
    clean, noisy = corrupted(rows, "swap", rate=1.0)
    for before, after in zip(clean, noisy, strict=True):
        for column in range(before.shape[1]):
            assert set(after[:, column].tolist()) <= set(before[:, column].tolist())


def test_all_views_of_a_column_come_from_one_row(rows):
    _, noisy = corrupted(rows, "swap", rate=1.0)
    layout, numeric = rows.layout, rows.matrix.numeric
    age = next(s for s, x in enumerate(rows.prologue.ranked_slots) if x.column == "age")
    value = next(s for s, x in enumerate(rows.prologue.numeric_slots) if x.column == "age")
    assert layout.numeric_units[value] == layout.ranked_units[age]
    pairs = set(zip(numeric[:, value].tolist(), rows.matrix.ranked[:, age].tolist(), strict=True))
    found = zip(noisy.numeric[:, value].tolist(), noisy.ranked[:, age].tolist(), strict=True)
    assert set(found) <= pairs


@pytest.mark.parametrize("kind", ["swap", "mask"])
def test_the_rate_is_the_share_of_cells_hit(rows, kind):
    clean, noisy = corrupted(rows, kind, rate=0.3)
    slot = next(s for s, x in enumerate(rows.prologue.numeric_slots) if x.column == "age")
    changed = (clean.numeric[:, slot] != noisy.numeric[:, slot]).float().mean()
    assert 0.2 < changed < 0.4


def test_masked_cells_are_mean_or_unknown(rows):
    _, noisy = corrupted(rows, "mask", rate=1.0)
    assert all(bool((part == 0).all()) for part in noisy)


def test_some_categories_become_unknown(rows):
    _, noisy = corrupted(rows, "none", unknown_rate=0.25)
    assert 0.15 < (noisy.codes == 0).float().mean() < 0.35


def test_blocks_hide_one_rectangle_of_an_image_and_leave_the_rest_of_it(rows):
    image = Image("picture", 2, 7, 5, tuple(range(70)), (0.0,) * 70)
    layout = replace(
        rows.layout,
        numeric_units=tuple(range(71)),
        ranked_units=(),
        code_units=(),
        units=71,
        images=(image,),
    )
    clean = torch.randn(200, 71) + 10
    corruptor = Corruptor(layout, "blocks", rate=0.2, unknown_rate=0.0)
    empty = torch.empty(200, 0)
    noisy = corruptor(Rows(clean, empty, empty.long()), torch.Generator().manual_seed(0)).numeric
    hidden = (noisy == 0)[:, :70].reshape(200, 2, 7, 5)
    assert bool((hidden[:, 0] == hidden[:, 1]).all())
    assert hidden[:, 0].sum((1, 2)).tolist() == [6] * 200  # 3 of 7 rows, 2 of 5 columns
    assert hidden[:, 0].any(2).sum(1).tolist() == [3] * 200
    assert len({tuple(one.flatten().tolist()) for one in hidden[:, 0]}) == 5 * 4
    assert torch.equal(
        noisy[:, :70][~hidden.reshape(200, 70)], clean[:, :70][~hidden.reshape(200, 70)]
    )
    swapped = (noisy[:, 70] != clean[:, 70]).float().mean()
    assert 0.1 < swapped < 0.3
