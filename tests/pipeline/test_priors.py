"""Codes are drawn by the spread of the rows that meet the conditions."""

import numpy as np
import pytest

from pipeline.manifest import Prior, Stratum
from pipeline.priors import Spreads, shares_of

EYE = ((1.0, 0.0), (0.0, 1.0))
NARROW = ((0.1, 0.0), (0.1, 0.2))
PRIOR = Prior(
    mean=(0.0, 0.0),
    factor=EYE,
    strata=(Stratum(mean=(5.0, -5.0), factor=NARROW, codes=(3,), share=0.25),),
)


def draw(prior: Prior | None, told: np.ndarray) -> np.ndarray:
    return Spreads(prior, dim=2).draw(told, np.random.default_rng(0))


def test_rows_of_a_stratum_have_its_spread_and_others_that_of_all_rows():
    told = np.repeat([[3], [4]], 20_000, axis=0)
    found = draw(PRIOR, told)
    own, others = found[:20_000], found[20_000:]
    assert found.dtype == np.float32
    assert np.allclose(own.mean(0), [5, -5], atol=0.02)
    assert np.allclose(np.cov(own.T), np.array(NARROW) @ np.array(NARROW).T, atol=0.005)
    assert np.allclose(others.mean(0), 0, atol=0.05)
    assert np.allclose(np.cov(others.T), np.eye(2), atol=0.05)


@pytest.mark.parametrize("told", [np.zeros((9, 0), np.int64), np.full((9, 2), 3)])
def test_a_stratum_of_other_conditions_is_nobodys(told):
    assert np.array_equal(draw(PRIOR, told), draw(None, told))


def test_shares_are_those_of_one_condition():
    pair = Stratum(mean=(0.0, 0.0), factor=EYE, codes=(3, 4), share=0.5)
    assert shares_of(PRIOR) == {3: 0.25}
    assert shares_of(PRIOR.model_copy(update={"strata": (pair,)})) == {}
    assert shares_of(None) == {}
