"""Greedy pretraining, layer by layer."""

import copy
import itertools

import numpy as np
import pytest
import torch

from training.autoencoder import Autoencoder
from training.loop import to_rows
from training.pretraining import greedy, layers_of, split_steps
from training.principal import balance
from training.recipes import concrete
from training.spec import NetworkConfig, TrainingConfig

CONFIG = TrainingConfig(
    steps=240, rows_per_batch=64, learning_rate=5e-3, evaluate_every=10, checkpoint_every=10
)
STEPS, _ = split_steps(240, 3)


class KilledError(Exception):
    pass


class KillAfter:
    def __init__(self, steps=10**9):
        self.steps = itertools.count(1 - steps)
        self.started, self.made = [], 0

    def start(self, what, total):
        self.started.append((what, total))

    def advance(self, n, **figures):
        self.made += n if figures else 0
        if n and figures and next(self.steps) == 0:
            raise KilledError

    def finish(self):
        pass


def network(rows, **choices) -> Autoencoder:
    choices = {"hidden": (32, 16), "decoder_hidden": (16, 32), **choices}
    model = Autoencoder(
        concrete("stacked", dim=4, network=NetworkConfig(**choices)),
        rows.layout,
        generator=torch.Generator().manual_seed(0),
    )
    balance(model, rows.moments)
    return model


def pretrain(model, rows, **more):
    given = {"state_path": None, "progress": None, **more}
    return greedy(model, rows.matrix, config=CONFIG, seed=3, **given)


def losses(model, rows):
    """Loss of each layer on the same rows and noise."""
    some = rows.matrix.batch(rows.matrix.where(1))
    with torch.no_grad():
        return [
            float(
                layer.loss(
                    to_rows(some.rows),
                    torch.from_numpy(some.labels),
                    generator=torch.Generator().manual_seed(1),
                    progress=0.0,
                )
            )
            for layer in layers_of(model)
        ]


@pytest.fixture(scope="module")
def pretrained(rows):
    model = network(rows)
    fresh = copy.deepcopy(model)
    return fresh, model, pretrain(model, rows)


def test_every_layer_has_learnt(rows, pretrained):
    fresh, model, _ = pretrained
    for before, after in zip(losses(fresh, rows), losses(model, rows), strict=True):
        assert after < 0.8 * before


def test_every_layer_has_its_curve(pretrained):
    _, _, curves = pretrained
    assert [curve["steps"] for curve in curves] == [STEPS] * 3
    assert all(curve["validation"][-1][1] < curve["validation"][0][1] for curve in curves)


def test_a_layer_trains_itself_alone(rows):
    model = network(rows)
    first, second, last = layers_of(model)
    trained = [{id(p) for p in layer.parameters()} for layer in (first, second, last)]
    assert not (trained[0] & trained[1]) | (trained[1] & trained[2])
    network_alone = {id(p) for p in (*model.trunk.parameters(), *model.decoder.parameters())}
    assert set.union(*trained) == network_alone | {id(model.table.weight)}


def test_a_layer_starts_from_what_the_layers_below_have_learnt(rows, pretrained):
    """The goal of the second layer is the output of the trained first one, untouched by it."""
    _, model, _ = pretrained
    alone = network(rows)
    only_first = pretrain_some(alone, rows, layers=1)
    for name, weight in only_first.items():
        assert torch.equal(weight, model.trunk.state_dict()[name])
    assert losses(model, rows)[1] < 0.8 * losses(alone, rows)[1]


def pretrain_some(model, rows, *, layers):
    """Stops before layer `layers` + 1 has made a step; the weights of the trained layers."""
    with pytest.raises(KilledError):
        pretrain(model, rows, progress=KillAfter(layers * STEPS + 1))
    return {f"0.{name}": weight for name, weight in model.trunk[0].state_dict().items()}


def test_a_layer_hands_over_outputs_of_variance_1_and_their_means(rows):
    model = network(rows)
    first, second, _ = layers_of(model)
    some = to_rows(rows.matrix.take(rows.matrix.where(0)))
    with torch.no_grad():
        inputs = model.inputs(*some)
        before = first.decoder(first.encoder(inputs).relu())
        first.hand_over(second, some)
        outputs = first.encoder(inputs).relu()
    assert float(outputs.var(0).mean()) == pytest.approx(1, rel=1e-4)
    assert torch.allclose(first.decoder(outputs).detach(), before, atol=1e-4)
    assert torch.allclose(second.decoder.bias.detach(), outputs.mean(0), atol=1e-5)


def test_deeper_layers_hide_part_of_what_they_read(rows):
    """A layer that copies its input has no loss, unless some of its input was hidden."""
    plain, noisy = (network(rows, layer_corruption=share) for share in ([0.0], [0.4, 0.4]))
    assert [layer.hidden_share for layer in layers_of(noisy)] == [0.0, 0.4, 0.4]
    assert losses(plain, rows)[0] == losses(noisy, rows)[0]
    assert losses(plain, rows)[1] != losses(noisy, rows)[1]


def test_the_last_share_holds_for_the_layers_above_it(rows):
    layers = layers_of(network(rows, layer_corruption=[0.3]))
    assert [layer.hidden_share for layer in layers] == [0.0, 0.3, 0.3]


@pytest.mark.parametrize("steps", [15, STEPS, STEPS + 15, 2 * STEPS + 15])
def test_a_run_killed_in_a_layer_goes_on_there(rows, pretrained, tmp_path, steps):
    state = tmp_path / "state.safetensors"
    with pytest.raises(KilledError):
        pretrain(network(rows), rows, state_path=state, progress=KillAfter(steps))
    resumed, progress = network(rows), KillAfter()
    curves = pretrain(resumed, rows, state_path=state, progress=progress)
    assert progress.made == 3 * STEPS - (steps - 1) // 10 * 10  # from the last checkpoint
    for name, tensor in pretrained[1].state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    for one, other in zip(curves, pretrained[2], strict=True):
        assert np.array_equal(one["validation"], other["validation"])


def test_progress_names_the_layer(rows):
    progress = KillAfter(STEPS + 1)
    with pytest.raises(KilledError):
        pretrain(network(rows), rows, progress=progress)
    assert progress.started == [
        ("pretrain stacked, layer 1 of 3", STEPS),
        ("pretrain stacked, layer 2 of 3", STEPS),
    ]


@pytest.mark.parametrize(("steps", "layers"), [(2000, 3), (120, 3), (7, 4), (100_000, 2)])
def test_layers_share_half_of_the_steps(steps, layers):
    each, rest = split_steps(steps, layers)
    assert each * layers + rest == steps
    assert abs(each * layers - steps / 2) <= layers
