"""Partners are like their rows, and never the rows themselves."""

import numpy as np
import pytest
import torch

from training.loop import to_rows
from training.neighbours import OWN_SHARE, Neighbours


@pytest.fixture(scope="module")
def neighbours(rows):
    return Neighbours.of(rows.matrix, rows.layout, rows.moments)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_places_are_the_scores_of_principal_components(rows, neighbours):
    places = neighbours.place(to_rows(rows.matrix.take(rows.matrix.where(0)))).double()
    covariance = torch.cov(places.T)
    variances = covariance.diagonal()
    assert bool((variances[:-1] >= variances[1:] - 1e-3).all())
    assert (covariance - variances.diag()).abs().max() < 1e-2 * variances.max()


def test_partners_are_nearer_than_rows_at_random(rows, neighbours):
    some = to_rows(rows.matrix.take(np.arange(200)))
    place = neighbours.place(some)
    apart = (place - neighbours.place(neighbours.partners(some, seeded(0)))).square().sum(1)
    apart = apart[apart > 0]
    at_random = (place - place[torch.randperm(200, generator=seeded(1))]).square().sum(1)
    assert apart.median() < 0.5 * at_random.median()


def test_half_of_the_partners_are_the_rows_themselves(rows, neighbours):
    some = to_rows(rows.matrix.take(rows.matrix.where(0)[:300]))
    found = [neighbours.partners(some, seeded(seed)).numeric == some.numeric for seed in range(20)]
    assert torch.stack(found).all(2).double().mean() == pytest.approx(OWN_SHARE, abs=0.03)


def test_a_partner_is_one_row_in_all_its_parts(rows, neighbours):
    some = to_rows(rows.matrix.take(rows.matrix.where(0)[:100]))
    partners = neighbours.partners(some, seeded(0))
    held = torch.cat([part.double() for part in neighbours.pool], 1)
    found = torch.cat([part.double() for part in partners], 1)
    assert all(bool((held == row).all(1).any()) for row in found)


def test_partners_change_from_draw_to_draw_and_repeat_with_the_seed(rows, neighbours):
    some = to_rows(rows.matrix.take(np.arange(100)))
    first, again, other = (neighbours.partners(some, seeded(n)).numeric for n in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
