import pytest
import torch
from torch.distributions import Normal, kl_divergence

from training.latents import GaussianLatent, charged, divergence, draw, warmth


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_divergence_is_that_of_torch():
    mean, log_variance = randn(50, 4), randn(50, 4, seed=1)
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0, 1))
    assert torch.allclose(divergence(mean, log_variance), expected, atol=1e-6)


def test_units_below_their_free_bits_cost_those_and_pull_nowhere():
    divergences = torch.tensor([[0.0, 1.0], [0.1, 3.0]], requires_grad=True)
    cost = charged(divergences, free_bits=0.2)
    cost.backward()
    assert cost.item() == pytest.approx(0.2 + 2.0)
    assert divergences.grad.tolist() == [[0, 0.5], [0, 0.5]]


def test_without_free_bits_the_cost_is_the_divergence():
    divergences = randn(20, 3).square()
    assert charged(divergences, free_bits=0.0) == pytest.approx(float(divergences.sum(1).mean()))


def test_draws_have_the_mean_and_variance_they_are_asked_for():
    log_variance = torch.tensor([[-2.0, 1.0]]).expand(50_000, 2)
    codes = draw(torch.tensor([[3.0, -1.0]]).expand(50_000, 2), log_variance, torch.Generator())
    assert torch.allclose(codes.mean(0), torch.tensor([3.0, -1.0]), atol=0.05)
    assert torch.allclose(codes.var(0).log(), torch.tensor([-2.0, 1.0]), atol=0.05)


def test_the_weight_rises_once_and_stays():
    assert [warmth(at / 4, 0.5) for at in range(5)] == [0, 0.5, 1, 1, 1]


def test_a_unit_whose_mean_hardly_varies_is_collapsed():
    latent = GaussianLatent(3)
    latent.calibrate(torch.zeros(3), torch.tensor([0.9, 0.09, 0.2]))
    assert latent.collapsed == [1]
    assert latent.standardise(torch.ones(1, 3))[0, 1] == 0
