"""What an encoder learns from labels: heads, their losses, and what missing labels do."""

import itertools

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError, DataError
from training.candidates import embed_rows, make
from training.checkpoint import Checkpoint
from training.estimator import TableEmbedder
from training.evaluation import learnt_from
from training.fit import fit, learn, work_folder
from training.loop import train
from training.matrix import Matrix
from training.recipes import aware, check_labels, concrete
from training.spec import Head, NetworkConfig, TrainingConfig, TrainingJob
from training.targets import Targets, heads_of

NAN = float("nan")
TWO = Head(name="two", task="two classes", labelled=4, classes=(3.0, 7.0), entropy=0.5)
MANY = Head(name="many", task="classes", labelled=4, classes=(0.0, 1.0, 5.0), entropy=2.0)
VALUE = Head(name="value", task="numbers", labelled=4, centre=10.0, deviation=2.0)
SHORT = TrainingConfig(
    steps=60, rows_per_batch=64, evaluate_every=15, checkpoint_every=15, learning_rate=5e-3
)
SHORTEST = SHORT.model_copy(update={"steps": 20})
SMALL = {"members": 2, "hidden": (32,)}


def targets(*heads: Head) -> Targets:
    return Targets(heads, 2, torch.Generator().manual_seed(0))


def labels(*columns: list[float]) -> torch.Tensor:
    return torch.tensor(list(zip(*columns, strict=True)), dtype=torch.float64)


def test_each_loss_is_what_it_is_by_hand():
    model = targets(TWO, MANY, VALUE)
    codes = torch.tensor([[[0.5, -1.0], [2.0, 0.3]]])
    found = model.losses(codes, labels([7.0, 3.0], [5.0, 0.0], [14.0, 9.0]))
    outputs = [layer(codes[0]).detach().double().numpy() for layer in model.layers]
    share = 1 / (1 + np.exp(-outputs[0][:, 0]))
    two = -(np.log(share[0]) + np.log(1 - share[1])) / 2 / 0.5
    soft = np.exp(outputs[1]) / np.exp(outputs[1]).sum(1, keepdims=True)
    many = -(np.log(soft[0, 2]) + np.log(soft[1, 0])) / 2 / 2.0
    value = ((outputs[2][0, 0] - 2.0) ** 2 + (outputs[2][1, 0] + 0.5) ** 2) / 2
    assert found.tolist() == pytest.approx([two, many, value], rel=1e-5)


def test_members_of_an_ensemble_lose_each_on_its_own():
    model, label = targets(MANY), labels([5.0, 0.0])
    codes = torch.randn((3, 2, 2), generator=torch.Generator().manual_seed(1))
    alone = [model.loss(code[None], label).item() for code in codes]
    assert model.loss(codes, label).item() == pytest.approx(np.mean(alone), rel=1e-5)


def test_a_row_without_a_label_has_no_gradient():
    codes = torch.randn((1, 3, 2), generator=torch.Generator().manual_seed(1), requires_grad=True)
    targets(TWO, MANY, VALUE).loss(
        codes, labels([NAN, 3.0, 7.0], [NAN, 5.0, NAN], [NAN, NAN, 9.0])
    ).backward()
    assert codes.grad is not None
    assert codes.grad[0, 0].abs().max() == 0
    assert bool((codes.grad[0, 1:].abs().max(1).values > 0).all())


def test_a_batch_without_labels_loses_nothing():
    found = targets(TWO, VALUE).loss(torch.ones((1, 2, 2)), labels([NAN, NAN], [NAN, NAN]))
    assert found.item() == 0


def test_a_class_that_training_rows_lack_counts_as_missing():
    codes = torch.ones((1, 2, 2))
    both = targets(MANY).loss(codes, labels([5.0, 9.0]))
    known = targets(MANY).loss(codes, labels([5.0, NAN]))
    assert both.item() == pytest.approx(known.item())


def test_heads_tell_the_kinds_of_labels_apart():
    rng = np.random.default_rng(0)
    table = np.column_stack([np.arange(200) % 2, np.arange(200) % 7, rng.normal(3, 2, 200)])
    table[:50, 1] = NAN
    heads = heads_of(table, ["a", "b", "c"])
    assert [head.task for head in heads] == ["two classes", "classes", "numbers"]
    assert [head.labelled for head in heads] == [200, 150, 200]
    assert heads[0].entropy == pytest.approx(np.log(2))
    assert (heads[2].centre, heads[2].deviation) == pytest.approx(
        (table[:, 2].mean(), table[:, 2].std())
    )


def test_a_label_with_nothing_to_tell_apart_is_refused_by_name():
    with pytest.raises(DataError, match=r"label 'b' must have 2 to 1,000 values .* found 1"):
        heads_of(np.ones((5, 1)), ["b"])


# A table of which the label is what unlabelled structure tells least of: the product of the signs
# of two small, independent columns beside four large ones that go together.


def xor(rows: int, *, seed: int = 0):
    rng = np.random.default_rng(seed)
    loud = rng.normal(size=(rows, 1)) + 0.1 * rng.normal(size=(rows, 4))
    quiet = rng.normal(size=(rows, 2))
    label = (quiet[:, 0] * quiet[:, 1] > 0).astype(float)
    return np.column_stack([loud, quiet]), label


def probed(embedder, labelled):
    from sklearn.linear_model import LogisticRegression

    train, label = xor(3000)
    test, truth = xor(1000, seed=1)
    known = label.copy()
    known[labelled:] = NAN
    embedder.fit(train, known)
    model = LogisticRegression().fit(embedder.transform(train)[:labelled], label[:labelled])
    return float(model.score(embedder.transform(test), truth))


def test_a_few_labels_teach_the_encoder_what_structure_hides():
    without = TableEmbedder(dim=2, recipe="denoising", steps=60, random_state=0)
    taught = TableEmbedder(dim=2, recipe="supervised", steps=60, use_label=True, random_state=0)
    assert probed(without, 300) < 0.65
    assert probed(taught, 300) > 0.8


class KilledError(Exception):
    pass


class KillAfter:
    """A progress that ends the run after some steps, as kill -9 would."""

    def __init__(self, steps: int):
        self.steps = itertools.count(1 - steps)

    def start(self, what, total):
        pass

    def advance(self, n, **figures):
        if n and next(self.steps) == 0:
            raise KilledError

    def finish(self):
        pass


@pytest.fixture(scope="module")
def several(rows, tmp_path_factory) -> Matrix:
    """The table of the suite with three labels, most of them missing."""
    matrix, rng = rows.matrix, np.random.default_rng(0)
    value = matrix.numeric[:, 0] + 0.1 * rng.normal(size=len(matrix.split))
    found = np.column_stack([matrix.labels[:, 0], np.digitize(value, [-0.5, 0.5]), value])
    found[rng.random(found.shape) < 0.5] = NAN
    return Matrix(matrix.numeric, matrix.ranked, matrix.codes, found, matrix.split)


def build(rows, matrix, recipe="supervised", **more):
    own = matrix.labels[matrix.where(0)]
    spec = aware(
        concrete(recipe, dim=6, network=NetworkConfig(**more.pop("choices", {}))),
        heads_of(own, ["told", "level", "value"][: own.shape[1]]),
    )
    return make(
        spec, matrix=matrix, layout=rows.layout, moments=rows.moments, config=SHORT, seed=3, **more
    )


@pytest.mark.parametrize("target", ["joint", "fine_tuned"])
def test_several_labels_of_different_kinds_are_learnt_together(rows, several, target):
    model, history = build(rows, several, choices={**SMALL, "target": target})
    losses = history["fine_tuning" if target == "fine_tuned" else "pretraining"]
    assert target != "fine_tuned" or losses["validation"][-1][1] < losses["validation"][0][1]
    assert history["decoder"]["steps"] == SHORT.steps // 4
    held = several.where(1)
    codes = torch.from_numpy(embed_rows(model, several.take(held)))
    raw = model.latent.restore(codes)
    lost = model.targets.losses(raw[None], torch.from_numpy(several.labels[held]))
    assert bool((lost < 1).all()), lost


@pytest.mark.parametrize("target", ["joint", "fine_tuned"])
def test_a_killed_run_that_learns_from_labels_ends_like_one_that_was_not(
    rows, several, target, tmp_path
):
    choices = {**SMALL, "target": target}
    whole = build(rows, several, choices=choices)[0]
    state = tmp_path / "state.safetensors"
    with pytest.raises(KilledError):
        build(rows, several, choices=choices, state_path=state, progress=KillAfter(50))
    resumed = build(rows, several, choices=choices, state_path=state)[0]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_any_recipe_that_is_trained_takes_labels(rows):
    model, history = build(rows, rows.matrix, recipe="denoising")
    assert model.spec.target == "joint"
    assert history["validation"][-1][1] < 0.8 * history["validation"][0][1]


def test_auto_with_labels_tries_the_supervised_recipe(rows):
    heads = heads_of(rows.matrix.labels, ["label"])
    *_, selection = learn(
        "auto", rows.matrix, rows.layout, config=SHORT, heads=heads, label="label"
    )
    assert set(selection["scores"]) == {"linear", "supervised"}


def test_auto_with_few_labels_learns_first_of_all_what_rows_tell_of_each_other(rows):
    labels = np.where(np.arange(len(rows.matrix.split))[:, None] % 40 == 0, rows.matrix.labels, NAN)
    own = rows.matrix
    scarce = Matrix(own.numeric, own.ranked, own.codes, labels, own.split)
    heads = heads_of(labels[scarce.where(0)], ["label"])
    spec, *_, selection = learn(
        "auto", scarce, rows.layout, config=SHORTEST, heads=heads, label="label"
    )
    assert set(selection["scores"]) == {"linear", "neighbours"}
    assert spec.heads == heads or spec.recipe == "linear"


def test_a_code_wider_than_its_table_has_no_dead_numbers(rows):
    width = rows.layout.width + 4
    spec, model, *_ = learn("auto", rows.matrix, rows.layout, dim=width, config=SHORTEST)
    assert spec.recipe == "neighbours"
    assert model.latent.collapsed == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"use_label": True}, "--use-label needs the labels to learn from, found none"),
        ({"use_label": True, "label": ("y",), "recipe": "linear"}, "'linear' is closed form"),
        ({"recipe": "supervised"}, "target = 'joint' and learns from labels; add --use-label"),
        ({"recipe": "plain", "network": {"screened": True}}, "screened = True and learns from"),
    ],
)
def test_a_job_whose_labels_and_recipe_disagree_is_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        check_labels(TrainingJob(source="s", out="o", **settings))


def test_an_estimator_that_is_to_use_labels_asks_for_them():
    with pytest.raises(ValueError, match="use_label=True needs labels to learn from"):
        TableEmbedder(use_label=True).fit(np.ones((20, 2)))


def test_labels_that_were_learnt_are_recorded_and_never_read(source):
    given = TrainingJob(
        source=str(source), out=str(source.parent / "bundle"), recipe="plain", key=("id",),
        label=("label", "age"), use_label=True, training=TrainingConfig(steps=5),
    )  # fmt: skip
    checkpoint = fit(given)
    read = {column.name for column in checkpoint.prologue.schema.features}
    assert read.isdisjoint({"label", "age"})
    assert {"label", "age"}.isdisjoint(checkpoint.held_out.column_names)
    rows = checkpoint.training_data["rows"]
    assert learnt_from(checkpoint.training_data) == {"label": rows, "age": rows}
    heads = Checkpoint.load(work_folder(given.out) / "result").spec.heads
    assert {head.name: head.task for head in heads} == {"label": "two classes", "age": "numbers"}


def test_few_labels_come_in_every_batch(several):
    labels = np.where(np.arange(len(several.split))[:, None] % 20 == 0, several.labels, NAN)
    scarce = Matrix(several.numeric, several.ranked, several.codes, labels, several.split)
    seen = []

    class Watched(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def terms(self, rows, labels, *, generator, progress):
            if self.training:
                seen.append(int(torch.isfinite(labels).any(1).sum()))
            return {"loss": self.weight.sum()}

        def loss(self, rows, labels, *, generator, progress):
            return self.terms(rows, labels, generator=generator, progress=progress)["loss"]

    for labelled in (False, True):
        train(Watched(), scarce, name="", schedule="constant", config=SHORT, seed=0,
              labelled=labelled)  # fmt: skip
    half = len(seen) // 2
    assert min(seen[:half]) < 10 <= min(seen[half:])
