import numpy as np
import pytest
import torch

from training.autoencoder import Autoencoder
from training.likelihoods import Likelihood
from training.loop import to_rows
from training.principal import balance
from training.recipes import concrete
from training.spec import NetworkConfig


@pytest.fixture
def likelihood(rows):
    return Likelihood(rows.layout)


def parameters(likelihood, count: int) -> torch.Tensor:
    generator = torch.Generator()
    generator.manual_seed(0)
    return torch.randn((count, likelihood.parameters_per_row), generator=generator)


def test_missing_cells_have_no_loss(rows, likelihood):
    slots = rows.prologue.numeric_slots
    mark = next(i for i, s in enumerate(slots) if (s.column, s.view) == ("income", "missing"))
    value = next(i for i, s in enumerate(slots) if (s.column, s.view) == ("income", "value"))
    missing = np.flatnonzero(rows.matrix.numeric[:, mark] > 0)[:50]
    clean = to_rows(rows.matrix.take(missing))
    guess = parameters(likelihood, len(missing))
    other = guess.clone()
    other[:, value] += 100
    assert torch.equal(likelihood.loss(guess, clean), likelihood.loss(other, clean))


def test_present_cells_have_a_loss(rows, likelihood):
    slots = rows.prologue.numeric_slots
    value = next(i for i, s in enumerate(slots) if (s.column, s.view) == ("age", "value"))
    clean = to_rows(rows.matrix.take(np.arange(50)))
    guess = parameters(likelihood, 50)
    other = guess.clone()
    other[:, value] += 100
    assert likelihood.loss(other, clean) > likelihood.loss(guess, clean)


def test_classes_beyond_the_target_count_as_rare(rows, likelihood):
    classes = rows.layout.classes
    codes = torch.tensor([[classes[0] + 5, 1]])
    assert likelihood.targets(codes).tolist() == [[2, 1]]


def test_row_errors_are_finite_and_not_negative(rows, likelihood):
    clean = to_rows(rows.matrix.take(np.arange(80)))
    error = likelihood.row_error(parameters(likelihood, 80), clean)
    assert error.shape == (80,)
    assert bool((error >= 0).all() and torch.isfinite(error).all())


def test_a_vector_weighs_more_than_a_number_and_less_than_its_elements(rows):
    weight = {}
    for slot, share in zip(
        (*rows.prologue.numeric_slots, *rows.prologue.ranked_slots),
        rows.layout.numeric_weights + rows.layout.ranked_weights,
        strict=True,
    ):
        if slot.view != "missing":
            weight[slot.column] = weight.get(slot.column, 0) + share
    assert weight["age"] == pytest.approx(1)
    assert 1 < weight["picture"] < 6


def test_the_default_width_counts_values_elements_and_categories(rows):
    categories = sum(c - 3 for c in rows.layout.cardinalities)
    views = [s for s in rows.prologue.numeric_slots if s.view != "missing"]
    assert rows.layout.width == len(views) + categories


def test_pixels_that_are_shares_weigh_alike_and_an_image_loses_as_much_as_by_its_best_guess(rows):
    spec = concrete("plain", dim=2, network=NetworkConfig(numbers="bernoulli"))
    model = Autoencoder(spec, rows.layout)
    balance(model, rows.moments)
    own = [i for i, s in enumerate(rows.prologue.numeric_slots) if s.column == "picture"]
    weights = model.likelihood.weights[own]
    assert torch.equal(weights, weights[:1].expand(6))
    low, high = (
        part[own].double().numpy() for part in (model.likelihood.low, model.likelihood.high)
    )
    share = (rows.moments.mean[own] - low) / (high - low)
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    best = float(weights.double().numpy() @ entropy)
    assert best == pytest.approx(sum(rows.layout.numeric_weights[i] for i in own), rel=1e-5)
