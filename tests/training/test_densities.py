"""Log likelihoods in nats: of columns given a code, and of rows by importance sampling."""

import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.distributions import Bernoulli, MultivariateNormal, Normal

from pipeline.prologue import Prologue
from pipeline.schema_inference import infer
from training.autoencoder import Autoencoder
from training.corruption import Rows
from training.importance import log_likelihood
from training.layout import Layout
from training.likelihoods import LEAST_VARIANCE, SPEED, Density
from training.loop import to_rows
from training.principal import Moments, balance, count_codes
from training.spec import EncoderSpec


def prepared(table: pa.Table) -> tuple[Prologue, Layout, Rows, Moments]:
    """A table's prologue, layout, rows and moments."""
    prologue = Prologue.fit(table.to_batches(), infer(table.schema, table))
    layout, rows = Layout.of(prologue), prologue.run(table)
    return prologue, layout, to_rows(rows), Moments.of([rows], layout, count_codes([rows], layout))


def parameters(density: Density, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn((count, density.parameters_per_row), generator=generator)


def pixels(values: np.ndarray) -> pa.Array:
    flat = pa.array(values.astype(np.uint8).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def test_numbers_are_normal_with_the_variance_of_their_column():
    random = np.random.default_rng(0)
    _, layout, rows, _ = prepared(pa.table({"a": random.normal(size=60), "b": random.random(60)}))
    density = Density(layout)
    density.balance(
        low=torch.full((4,), -3.0),
        high=torch.full((4,), 3.0),
        binary_entropy=torch.ones(4),
        code_entropy=torch.ones(0),
    )
    with torch.no_grad():
        density.log_variances.copy_(torch.tensor([-0.1, 0.05]))
    guess = parameters(density, 60)
    deviation = (LEAST_VARIANCE + torch.tensor([-0.1, 0.05]).mul(SPEED).exp()).sqrt()
    expected = Normal(guess[:, :2], deviation).log_prob(rows.numeric).sum(1)
    assert torch.allclose(density.log_likelihood(guess, rows), expected, atol=1e-4)


def test_a_binary_image_has_its_bernoulli_likelihood():
    lit = np.random.default_rng(0).random((80, 6)) < 0.4
    lit[:, 5] = True  # constant: nothing to tell
    _, layout, rows, moments = prepared(pa.table({"x": pixels(255 * lit)}))
    spec = EncoderSpec(recipe="vae", dim=2, latent="gaussian", numbers="bernoulli", start="random")
    model = Autoencoder(spec, layout)
    balance(model, moments)
    guess = parameters(model.likelihood, 80)
    truth = torch.from_numpy(lit[:, :5]).float()
    expected = Bernoulli(logits=guess[:, :5]).log_prob(truth).sum(1)
    assert torch.allclose(model.likelihood.log_likelihood(guess, rows), expected, atol=1e-4)


def test_the_mean_of_a_bernoulli_pixel_lies_between_its_extremes():
    grey = np.random.default_rng(0).integers(0, 256, (80, 6))
    prologue, layout, _, moments = prepared(pa.table({"x": pixels(grey)}))
    spec = EncoderSpec(recipe="vae", dim=2, latent="gaussian", numbers="bernoulli", start="random")
    model = Autoencoder(spec, layout)
    balance(model, moments)
    logits = torch.tensor([-50.0, 0.0, 50.0])[:, None].expand(3, 6)
    values = model.likelihood.decoded(logits).numeric
    scale = torch.tensor(prologue.vectors.columns[0].scale)
    mean = torch.tensor(prologue.vectors.columns[0].mean)
    raw = values * scale + mean
    low, high = (torch.from_numpy(end.astype(np.float32)) for end in (grey.min(0), grey.max(0)))
    assert torch.allclose(raw, torch.stack([low, (low + high) / 2, high]), atol=1e-2)


def test_a_category_has_the_likelihood_of_its_class_and_one_never_seen_has_none():
    table = pa.table({"city": ["a", "b", "b", "c"] * 10})
    prologue, layout, rows, _ = prepared(table)
    density = Density(layout)
    guess = parameters(density, 40)
    expected = guess.log_softmax(1).gather(1, rows.codes)[:, 0]
    assert torch.allclose(density.log_likelihood(guess, rows), expected, atol=1e-5)
    unseen = to_rows(prologue.run(pa.table({"city": ["elsewhere"]})))
    assert density.log_likelihood(guess[:1], unseen) == 0


def test_missing_cells_and_the_second_view_of_numbers_have_no_likelihood(rows):
    density = Density(rows.layout)
    density.high.fill_(5)
    slots = rows.prologue.numeric_slots
    mark = next(i for i, s in enumerate(slots) if (s.column, s.view) == ("income", "missing"))
    value = next(i for i, s in enumerate(slots) if (s.column, s.view) == ("income", "value"))
    missing = rows.matrix.numeric[:, mark] > 0
    clean = to_rows(rows.matrix.take(np.arange(len(missing))))
    guess = parameters(density, len(missing))
    other = guess.clone()
    other[:, value] += 1
    other[:, len(slots) : len(slots) + len(rows.prologue.ranked_slots)] += 1
    same = density.log_likelihood(guess, clean) == density.log_likelihood(other, clean)
    assert same.tolist() == missing.tolist()


def test_condition_columns_have_no_likelihood_and_no_error():
    random = np.random.default_rng(0)
    table = pa.table(
        {"a": random.normal(size=60), "b": random.normal(size=60), "c": ["x", "y"] * 30}
    )
    schema = infer(table.schema, table)
    told = [
        column.model_copy(update={"role": "condition"} if column.name in "bc" else {})
        for column in schema.columns
    ]
    prologue = Prologue.fit(table.to_batches(), schema.model_copy(update={"columns": tuple(told)}))
    layout, clean = Layout.of(prologue), to_rows(prologue.run(table))
    density = Density(layout, given=True)
    guess = parameters(density, 60)
    other = guess.clone()
    other[:, [1, *range(4, guess.shape[1])]] += 1  # the value of b, and every class of c
    assert torch.equal(density.log_likelihood(guess, clean), density.log_likelihood(other, clean))
    assert torch.equal(density.row_error(guess, clean), density.row_error(other, clean))


def linear_gaussian(width: int = 3, dim: int = 2) -> tuple[Autoencoder, Rows, torch.Tensor]:
    """A model x = W z + b + noise, rows, and their exact log likelihood."""
    random = np.random.default_rng(0)
    table = pa.table({f"x{i}": random.normal(size=30) for i in range(width)})
    _, layout, rows, moments = prepared(table)
    spec = EncoderSpec(recipe="vae", dim=dim, latent="gaussian", start="random")
    model = Autoencoder(spec, layout, generator=torch.Generator().manual_seed(1)).eval()
    balance(model, moments)
    with torch.no_grad():
        model.likelihood.log_variances.fill_(math.log(0.5) / SPEED)
        weight, bias = (part[:width].clone() for part in model.decoder[0].parameters())
        variance = model.likelihood.variance.clone()
        # The encoder knows the posterior's mean, and thinks it wider than it is.
        precision = torch.eye(dim) + weight.T / variance @ weight
        model.path.weight.zero_()
        model.path.weight[:, :width] = precision.inverse() @ weight.T / variance
        model.path.bias.copy_(-model.path.weight[:, :width] @ bias)
        model.spread.weight.zero_()
        model.spread.bias.copy_(precision.inverse().diag().log() + 0.4)
    marginal = MultivariateNormal(bias, weight @ weight.T + variance.diag())
    return model, rows, marginal.log_prob(rows.numeric)


def test_importance_sampling_finds_the_exact_likelihood_of_a_linear_gaussian_model():
    model, rows, exact = linear_gaussian()
    found = log_likelihood(model, rows, samples=2_000, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(found.float(), exact, atol=0.02)


def test_one_sample_gives_the_evidence_lower_bound():
    model, rows, exact = linear_gaussian()
    many = Rows(*(part.repeat(400, 1) for part in rows))
    bound = log_likelihood(model, many, samples=1, generator=torch.Generator().manual_seed(0))
    terms = model.terms(many, torch.empty(0, 0), generator=torch.Generator(), progress=1)
    assert float(-bound.mean()) == pytest.approx(float(terms["negative_elbo"].detach()), abs=0.02)
    assert 0.05 < float(exact.mean() - bound.mean()) < 0.5


def test_the_estimate_does_not_depend_on_how_many_codes_are_held_at_once(monkeypatch):
    model, rows, exact = linear_gaussian()
    monkeypatch.setattr("training.importance.NUMBERS_AT_ONCE", 2_000)
    found = log_likelihood(model, rows, samples=300, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(found.float(), exact, atol=0.1)


def test_a_point_has_no_likelihood(rows):
    model = Autoencoder(EncoderSpec(recipe="linear", dim=2), rows.layout)
    clean = to_rows(rows.matrix.take(np.arange(3)))
    with pytest.raises(ValueError, match="gaussian code is required, found recipe 'linear'"):
        log_likelihood(model, clean, samples=1, generator=torch.Generator())
