"""Dense layers carry a signal through however many of them there are."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.errors import ConfigError
from training.layers import Silu, dense
from training.recipes import RECIPES, check_recipe
from training.spec import NetworkConfig


def test_silu_is_that_of_torch() -> None:
    values = torch.linspace(-30, 30, 1001)
    torch.testing.assert_close(Silu()(values), F.silu(values), atol=2e-6, rtol=1e-5)


def test_a_deep_network_of_silu_starts_with_a_signal() -> None:
    rows = torch.randn(500, 64, generator=torch.Generator().manual_seed(0))
    spread = {}
    for activation in ("relu", "silu"):
        network = dense(64, (64,) * 8, 64, torch.Generator(), activation=activation)
        spread[activation] = float(network(rows).detach().std(0).mean())
    assert spread["silu"] > 0.2
    assert spread["relu"] < 0.01


@pytest.mark.parametrize("recipe", [n for n, s in RECIPES.items() if s.trained])
def test_recipes_that_need_relu_say_so(recipe: str) -> None:
    spec = RECIPES[recipe]
    takes = spec.trunk == "dense" and spec.penalty == spec.pretraining == "none"
    network = NetworkConfig(activation="silu")
    if takes and spec.decoder != "conv":
        check_recipe(recipe, network)
    else:
        with pytest.raises(ConfigError, match="an activation other than relu requires"):
            check_recipe(recipe, network)
