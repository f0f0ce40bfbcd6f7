"""Penalties on the layer before the code."""

import numpy as np
import pytest
import torch

from training.candidates import make
from training.penalties import PENALTIES, STEEPNESS, Encoded
from training.recipes import concrete
from training.spec import NetworkConfig, TrainingConfig

TARGET = 0.1


def before(hidden: torch.Tensor) -> Encoded:
    return Encoded(hidden, torch.zeros(0))


def spec(**choices):
    target = {} if choices.get("penalty") == "l1" else {"target_activation": TARGET}
    network = NetworkConfig(hidden=(64,), **target, **choices)
    return concrete("sparse", dim=3, network=network)


def coins(p, q):
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def soft(hidden):
    return torch.sigmoid(STEEPNESS * hidden / hidden.std(0, correction=0)).mean(0)


def test_the_divergence_is_that_of_two_coins():
    hidden = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) - torch.arange(3)
    expected = coins(TARGET, soft(hidden).double().numpy()).mean()
    assert float(PENALTIES["kl"](before(hidden), spec())) == pytest.approx(expected, rel=1e-4)


def test_the_divergence_is_least_where_units_are_on_as_often_as_wanted():
    noise = torch.randn(2000, 1, generator=torch.Generator().manual_seed(0))
    shifts = np.linspace(0, 4, 81)
    values = [float(PENALTIES["kl"](before(noise - float(shift)), spec())) for shift in shifts]
    best = float(((noise - shifts[int(np.argmin(values))]) > 0).double().mean())
    assert min(values) < 1e-3
    assert 0.5 * TARGET < best < 1.1 * TARGET


def test_the_divergence_draws_a_unit_that_is_always_off_or_always_on():
    noise = 0.1 * torch.randn(50, 1, generator=torch.Generator().manual_seed(0))
    for level, sign in ((-1.0, -1), (1.0, 1)):
        hidden = (noise + level).requires_grad_()
        PENALTIES["kl"](before(hidden), spec()).backward()
        assert float(hidden.grad.sum()) * sign > 1


@pytest.mark.parametrize(("rows_on", "expected"), [(1, 0.1), (25, 0.5), (100, 1.0), (0, 0.0)])
def test_the_norm_is_the_root_of_the_share_of_rows_that_a_unit_is_on_for(rows_on, expected):
    hidden = torch.full((100, 1), -1.0)
    hidden[:rows_on] = 7.0
    assert float(PENALTIES["l1"](before(hidden), spec())) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("penalty", ["kl", "l1"])
def test_no_penalty_falls_by_scaling(penalty):
    hidden = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    values = [float(PENALTIES[penalty](before(c * hidden), spec())) for c in (0.1, 10.0)]
    assert values[0] == pytest.approx(values[1], rel=1e-3)


@pytest.fixture(scope="module")
def share_on(rows):
    """Trains a sparse network and gives, for each hidden unit, the share of rows it is on for."""

    def measure(**choices):
        config = TrainingConfig(
            steps=200, rows_per_batch=64, evaluate_every=200, learning_rate=3e-3
        )
        model, _ = make(
            spec(**choices),
            matrix=rows.matrix,
            layout=rows.layout,
            moments=rows.moments,
            config=config,
            seed=0,
        )
        held = [torch.from_numpy(part) for part in rows.matrix.take(rows.matrix.where(0))]
        with torch.no_grad():
            return (model.trunk[:-2](model.inputs(*held)) > 0).double().mean(0)

    return measure


@pytest.fixture(scope="module")
def unpenalised(share_on):
    return share_on(penalty_weight=0.0)


def test_units_come_to_be_on_as_often_as_wanted(share_on, unpenalised):
    sparse = share_on(penalty_weight=1.0)
    assert float(unpenalised.mean()) > 0.4
    assert float(sparse.mean()) == pytest.approx(TARGET, rel=0.5)
    assert float(sparse.min()) > 0.3 * TARGET
    assert float((sparse < 2 * TARGET).double().mean()) > 0.7


def test_the_norm_makes_units_rare(share_on, unpenalised):
    assert float(share_on(penalty="l1", penalty_weight=1.0).mean()) < 0.5 * unpenalised.mean()
