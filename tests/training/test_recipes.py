"""Every recipe keeps the same promises."""

import itertools
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError
from training.candidates import embed_rows, make
from training.corruption import Rows
from training.recipes import (
    RECIPES,
    aware,
    check_recipe,
    concrete,
)
from training.shortlist import CANDIDATES, unlabelled_candidates
from training.spec import Head, NetworkConfig, TrainingConfig, TrainingJob
from training.stages import DECODER_SHARE

CONFIG = TrainingConfig(steps=120, rows_per_batch=64, evaluate_every=30, checkpoint_every=30)
TRAINED = [name for name, spec in RECIPES.items() if spec.trained]


class KilledError(Exception):
    pass


class KillAfter:
    """A progress that ends the run after some steps, as kill -9 would."""

    def __init__(self, steps: int = 10**9):
        self.steps = itertools.count(1 - steps)
        self.made = 0

    def start(self, what, total):
        pass

    def advance(self, n, **figures):
        self.made += n if figures else 0
        if n and next(self.steps) == 0:
            raise KilledError

    def finish(self):
        pass


def build(rows, recipe, *, correction=None, **more):
    network = NetworkConfig() if correction is None else NetworkConfig(correction=correction)
    return make(
        concrete(recipe, dim=6, network=network),
        matrix=rows.matrix,
        layout=rows.layout,
        moments=rows.moments,
        config=CONFIG,
        seed=3,
        **more,
    )


@pytest.fixture(scope="module", params=list(RECIPES))
def made(request, rows):
    return build(rows, request.param)


def test_codes_of_the_training_rows_have_mean_0_and_variance_1(rows, made):
    codes = embed_rows(made[0], rows.matrix.take(rows.matrix.where(0))).astype(np.float64)
    assert np.abs(codes.mean(0)).max() < 1e-3
    assert np.abs(codes.var(0) - 1).max() < 1e-3


def test_all_units_are_alive(made):
    assert made[1]["collapsed"] == []


def test_a_code_does_not_depend_on_the_batch_or_its_order(rows, made):
    some = rows.matrix.take(np.arange(200))
    order = np.random.default_rng(0).permutation(200)
    whole = embed_rows(made[0], some)
    shuffled = embed_rows(made[0], type(some)(*(part[order] for part in some)))
    alone = np.concatenate([embed_rows(made[0], rows.matrix.take(np.array([i]))) for i in range(9)])
    assert np.abs(whole[order] - shuffled).max() < 1e-5
    assert np.abs(whole[:9] - alone).max() < 1e-5


def test_the_code_tells_of_the_row(rows, made):
    """The decoder gives numbers back better than their mean does."""
    held = rows.matrix.take(rows.matrix.where(2))
    embedding = torch.from_numpy(embed_rows(made[0], held))
    numeric = made[0].decode(embedding).numeric.detach().numpy()
    values = ~np.array(rows.layout.binary)
    error = ((numeric - held.numeric)[:, values] ** 2).mean()
    assert error < 0.9 * (held.numeric[:, values] ** 2).mean()


def test_the_reconstruction_error_of_shuffled_rows_is_larger(rows, made):
    held = rows.matrix.take(rows.matrix.where(2))
    rng = np.random.default_rng(0)
    torn = [np.stack([rng.permutation(c) for c in part.T], 1) for part in held]
    errors = [
        made[0].reconstruction_error(*(torch.from_numpy(part) for part in parts)).mean()
        for parts in (held, torn)
    ]
    assert errors[0] < errors[1]


def test_views_name_what_the_encoder_reads(rows, made):
    model, some = made[0], rows.matrix.take(np.arange(50))
    other = {
        "numeric": some._replace(numeric=some.numeric + 1),
        "ranked": some._replace(ranked=some.ranked + 1),
        "codes": some._replace(codes=(some.codes + 1) % 3),
    }
    told = [
        not np.array_equal(embed_rows(model, some), embed_rows(model, o)) for o in other.values()
    ]
    assert told == [name in model.views for name in other]


def test_a_category_never_seen_in_training_is_like_unknown(rows, made):
    unseen = np.flatnonzero(rows.moments.shares == 0)
    assert len(unseen) > len(rows.layout.cardinalities)
    for start, cardinality in zip(rows.layout.offsets, rows.layout.cardinalities, strict=True):
        own = unseen[(unseen >= start) & (unseen < start + cardinality)]
        table = made[0].table.weight
        assert bool((table[torch.from_numpy(own)] == table[start]).all())


@pytest.mark.parametrize("made", TRAINED, indirect=True)
def test_the_loss_falls(made):
    losses = [loss for _, loss in made[1]["validation"]]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("made", TRAINED, indirect=True)
def test_a_killed_run_ends_like_one_that_was_not(rows, made, tmp_path):
    whole, recipe = made[0], made[0].spec.recipe
    state = tmp_path / "state.safetensors"
    with pytest.raises(KilledError):
        build(rows, recipe, state_path=state, progress=KillAfter(75))
    progress = KillAfter()
    resumed = build(rows, recipe, state_path=state, progress=progress)[0]
    decoder = CONFIG.steps * DECODER_SHARE if "decoder" in made[1] else 0
    assert progress.made == CONFIG.steps / 2 + decoder
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_corrected_code_is_principal_components_and_a_share_of_what_was_learnt(rows):
    some = Rows(*(torch.from_numpy(part) for part in rows.matrix.take(np.arange(200))))
    straight = build(rows, "linear")[0].raw_code(*some)
    bent = []
    for share in (0.5, 0.25):
        model = build(rows, "joint", correction=share)[0]
        assert model.path is not None and model.trunk is not None
        inputs = model.inputs(*some)
        assert torch.allclose(model.path(inputs), straight, atol=0.01)
        assert torch.allclose(model.raw_code(*some), model.path(inputs) + model.trunk(inputs))
        bent.append(model.trunk(inputs))
    assert bent[0].std() > 0.1
    assert torch.allclose(bent[0], 2 * bent[1], atol=1e-5)


def test_all_that_was_learnt_from_a_label_is_kept():
    heads = (Head(name="label", task="numbers", labelled=9),)
    assert concrete("joint", dim=4).correction < 1
    assert aware(concrete("joint", dim=4), heads).correction == 1


def test_choices_of_the_network_replace_the_recipes_own():
    network = NetworkConfig(hidden=(1000, 500, 250), corruption="mask")
    spec = concrete("denoising", dim=30, network=network)
    own = concrete("denoising", dim=30)
    changed = {"hidden": (1000, 500, 250), "corruption": "mask"}
    assert spec == own.model_copy(update=changed)


@pytest.mark.parametrize(
    ("recipe", "choices", "message"),
    [
        ("auto", {"hidden": (8,)}, "need a recipe that they change, found recipe 'auto' with hid"),
        ("linear", {"hidden": (8,)}, "'linear' has no network to choose, found hidden"),
        ("joint", {"decoder_hidden": (8,)}, "has decoder = 'linear', with which decoder_hidden"),
        ("plain", {"corruption_rate": 0.2}, "has corruption = 'none', with which corruption_rate"),
        ("plain", {"channels": (8,)}, "'dense' and decoder = 'mlp', with which channels means no"),
        ("conv", {"members": 2}, "has trunk = 'conv', with which members means nothing; choose"),
        ("conv", {"dropout": 0.1}, "has trunk = 'conv', with which dropout means nothing"),
        ("plain", {"target_activation": 0.1}, "'none', with which target_activation means noth"),
        ("plain", {"trunk": "none"}, "a trunk or a start is required, found trunk = 'none', start"),
        ("sparse", {"hidden": ()}, "a penalty requires a dense trunk with a hidden layer, found"),
        ("sparse", {"pretraining": "greedy"}, "in reverse as decoder, found start = 'none'"),
        ("joint", {"latent": "gaussian"}, "a correction below 1 requires a dense or conv trunk"),
        ("plain", {"correction": 0.5}, "found correction = 0.5, trunk = 'dense', start = 'none'"),
    ],
)
def test_a_choice_that_means_nothing_is_refused(recipe, choices, message):
    with pytest.raises(ConfigError, match=message):
        check_recipe(recipe, NetworkConfig(**choices))


def test_a_job_that_was_written_and_read_asks_for_the_same_network():
    job = TrainingJob(source="a", out="b", recipe="plain", network={"hidden": []})
    again = TrainingJob.model_validate_json(job.model_dump_json())
    assert (
        job.model_dump_json()
        != job.model_copy(update={"network": NetworkConfig()}).model_dump_json()
    )
    assert concrete("plain", dim=2, network=again.network).hidden == ()


def test_auto_starts_from_linear():
    assert CANDIDATES[0] == "linear"
    assert {
        *CANDIDATES,
        *unlabelled_candidates(8, dim=4),
        *unlabelled_candidates(80, dim=4),
    } <= set(RECIPES)


def test_an_unknown_recipe_is_refused_by_name():
    with pytest.raises(ConfigError, match="'lineal' is unknown; choose one of auto, linear"):
        concrete("lineal", dim=4)


@pytest.fixture(scope="module")
def documented():
    text = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
    return text.split("## Recipes")[1].split("\n## ")[0]


def test_the_documentation_names_every_recipe(documented):
    named = {line.split("`")[1] for line in documented.splitlines() if line.startswith("| `")}
    assert named == set(RECIPES)


def test_the_documented_network_can_be_had(documented):
    example = documented.split("```toml")[1].split("```")[0]
    job = TrainingJob(source="a", out="b", **tomllib.loads(example)["train"])
    assert concrete(job.recipe, dim=30, network=job.network).hidden == (1000, 500, 250)
