"""Decoders that are told of a row: conditional recipes, and what rows are generated from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.manifest import Manifest
from pipeline.priors import Spreads
from pipeline.transforms import Classes
from training.autoencoder import Autoencoder
from training.candidates import calibrate
from training.conditions import Condition, Conditions, classes_of, conditioned
from training.fit import fit
from training.loop import to_rows
from training.priors import lower_root, prior_of
from training.recipes import concrete
from training.spec import NetworkConfig, TrainingConfig, TrainingJob

CENTRES = {"x": -2.0, "y": 0.0, "z": 2.0}
BUDGET = TrainingConfig(steps=200, rows_per_batch=64, learning_rate=5e-3, evaluate_every=50)


def write(folder: Path) -> str:
    """Rows whose numbers lie around a centre that `kind` and `label` name."""
    random = np.random.default_rng(0)
    kind = random.choice(list(CENTRES), 900)
    centre = np.array([CENTRES[one] for one in kind])
    table = pa.table(
        {
            "a": centre + random.normal(size=900),
            "b": random.normal(size=900) - centre,
            "kind": kind,
            "label": pa.array(10 * centre.astype(int), mask=random.random(900) < 0.05),
        }
    )
    pq.write_table(table, folder / "table.parquet")
    return str(folder / "table.parquet")


def job(folder: Path, recipe: str, **more) -> TrainingJob:
    out = str(folder / "bundle")
    return TrainingJob(source=write(folder), out=out, recipe=recipe, dim=2, training=BUDGET, **more)


def generated(checkpoint, code: int | None) -> np.ndarray:
    """Numbers [5000, 2] of rows drawn from the prior, told the condition's code."""
    noise = torch.randn((5000, 2), generator=torch.Generator().manual_seed(0))
    prior = checkpoint.prior
    codes = noise @ torch.tensor(prior.factor).T + torch.tensor(prior.mean)
    told = None
    if code is not None:
        told = Condition(codes[:, :0], torch.full((len(codes), 1), code))
    with torch.no_grad():
        numeric = checkpoint.module.decode(codes, told).numeric[:, :2].numpy()
    fitted = checkpoint.prologue.scalars.columns
    return numeric * [one.deviation for one in fitted[:2]] + [one.mean for one in fitted[:2]]


def test_rows_drawn_from_a_vae_have_the_moments_of_its_table(tmp_path):
    checkpoint = fit(job(tmp_path, "vae"))
    drawn = generated(checkpoint, None)
    noise = checkpoint.module.likelihood.variance[:2].detach().numpy()
    fitted = checkpoint.prologue.scalars.columns
    spread = [one.deviation for one in fitted[:2]]
    # The decoder gives means; what the likelihood adds is its own variance.
    variance = drawn.var(0) + noise * np.square(spread)
    assert np.allclose(drawn.mean(0), [one.mean for one in fitted[:2]], atol=0.25)
    assert np.allclose(np.sqrt(variance), spread, rtol=0.2)
    terms = checkpoint.history["vae"]["terms"]
    parts = zip(terms["kl"], terms["reconstruction"], strict=True)
    total = [kl[1] + missed[1] for kl, missed in parts]
    assert [value for _, value in terms["negative_elbo"]] == pytest.approx(total)
    assert total[-1] < total[0] - 0.1


@pytest.mark.parametrize("role", ["condition", "label"])
def test_rows_drawn_from_a_cvae_follow_the_condition(tmp_path, role):
    told = "kind" if role == "condition" else "label"
    other = "label" if role == "condition" else "kind"
    roles = {told: {"role": role}, other: {"role": "ignore"}}
    checkpoint = fit(job(tmp_path, "cvae", columns=roles))
    if role == "label":
        assert checkpoint.prologue.label == Classes("label", "number", (-20.0, 0.0, 20.0))
        values = [value / 10 for value in checkpoint.prologue.label.values]
        first = 1
    else:
        values = [CENTRES[one] for one in checkpoint.prologue.categories.columns[0].kept]
        first = 3
    for place, centre in enumerate(values):
        drawn = generated(checkpoint, first + place)
        assert np.allclose(drawn.mean(0), [centre, -centre], atol=0.5)
    # A condition that is not known: the whole table.
    assert np.allclose(generated(checkpoint, 0).mean(0), 0, atol=0.6)


def test_the_validation_loss_is_that_of_the_whole_bound_from_the_start(tmp_path):
    network = {"warm_up": 0.9, "free_bits": 0.0}
    curve = fit(job(tmp_path, "vae", network=network)).history["vae"]
    assert np.allclose(curve["validation"], curve["terms"]["negative_elbo"], rtol=1e-6)


def test_a_conditional_recipe_without_a_condition_is_refused_before_anything_is_done(tmp_path):
    with pytest.raises(ConfigError, match=r"needs a condition, found none; name a --label, or say"):
        fit(job(tmp_path, "cvae"))
    assert not (tmp_path / ".bundle.work").exists()


def test_a_label_of_many_values_is_no_condition(tmp_path):
    with pytest.raises(ConfigError, match=r"label 'a' must have classes .* different values"):
        fit(job(tmp_path, "cvae", label=("a",)))


def test_condition_columns_come_before_the_label_unless_that_is_asked_for(rows):
    layout = rows.layout
    told = replace(layout, given_codes=(True, *layout.given_codes[1:]))
    assert conditioned(concrete("cvae", dim=2), told).condition == "columns"
    assert conditioned(concrete("cvae", dim=2), layout).condition == "label"
    asked = concrete("cvae", dim=2, network=NetworkConfig(condition="label"))
    assert conditioned(asked, told).condition == "label"
    assert conditioned(concrete("vae", dim=2), told).condition == "none"


def test_classes_of_text_keep_the_numbers_that_stand_beside_the_rows(rows):
    schema, texts = rows.prologue.schema, {"no": 1, "yes": 0, "only elsewhere": 2}
    classes = classes_of(schema, np.array([0.0, 1.0, np.nan, 1.0]), texts)
    assert classes.values == ("yes", "no", "")
    assert classes.numbers[:2] == (0.0, 1.0) and np.isnan(classes.numbers[2])


def test_labels_become_codes_and_nulls_are_not_known(rows):
    told = Conditions(rows.layout, by_label=True, generator=torch.Generator())
    clean = to_rows(rows.matrix.take(np.arange(4)))
    labels = torch.tensor([[1.0], [0.0], [float("nan")], [7.0]], dtype=torch.float64)
    assert told.of(clean, labels).codes.tolist() == [[2], [1], [0], [0]]
    assert told.of(clean, None) is None


def test_three_rows_in_a_hundred_are_not_told(rows):
    told = Conditions(rows.layout, by_label=True, generator=torch.Generator())
    known = Condition(torch.ones(20_000, 2), torch.ones((20_000, 1), dtype=torch.int64))
    kept, withheld = told.forget(known, torch.Generator().manual_seed(0))
    lost = kept.codes[:, 0] == 0
    assert 0.025 < float(lost.float().mean()) < 0.035
    assert torch.equal(lost, (kept.numeric == 0).all(1))
    assert torch.equal(lost, withheld[:, 0])


def test_rows_that_are_not_told_teach_the_decoder_alone(rows, monkeypatch):
    monkeypatch.setattr("training.conditions.FORGOTTEN", 1.0)
    spec = concrete("cvae", dim=2, network=NetworkConfig(condition="label", kl_weight=0.0))
    model = Autoencoder(spec, rows.layout).train()
    batch = rows.matrix.batch(np.arange(64))
    labels = torch.from_numpy(batch.labels)
    noise = torch.Generator().manual_seed(0)
    model.loss(to_rows(batch.rows), labels, generator=noise, progress=1.0).backward()
    assert all(not part.grad.any() for part in model.trunk.parameters())
    assert all(part.grad.any() for part in model.decoder.parameters())


def test_a_prior_tells_the_codes_of_each_class_and_how_many_rows_it_has(tmp_path):
    # A code that costs nothing keeps all of a row, the class included.
    roles = {"kind": {"role": "ignore"}, "label": {"role": "label"}}
    checkpoint = fit(job(tmp_path, "cvae", columns=roles, network={"kl_weight": 0.01}))
    prior = checkpoint.prior
    assert sorted(one.codes for one in prior.strata) == [(0,), (1,), (2,), (3,)]
    assert sum(one.share for one in prior.strata) == pytest.approx(1)
    means = np.array([one.mean for one in prior.strata])
    shares = np.array([one.share for one in prior.strata])
    assert np.allclose(shares @ means, 0, atol=0.05)
    within = [np.square(one.factor).sum(1) for one in prior.strata]
    # Embeddings have variance 1, to which that of the noise comes.
    assert np.allclose(shares @ (within + means**2), 1, atol=0.2)
    told = np.repeat([[1], [3]], 2_000, axis=0)
    codes = Spreads(prior, dim=2).draw(told, np.random.default_rng(0))
    condition = Condition(torch.zeros(4_000, 0), torch.from_numpy(told))
    with torch.no_grad():
        drawn = checkpoint.module.decode(torch.from_numpy(codes), condition).numeric[:, 0].numpy()
    fitted = checkpoint.prologue.scalars.columns[0]
    drawn = drawn * fitted.deviation + fitted.mean
    assert np.allclose([drawn[:2_000].mean(), drawn[2_000:].mean()], [-2, 2], atol=0.2)


def test_few_rows_with_the_same_conditions_have_no_spread_of_their_own(rows):
    spec = concrete("cvae", dim=2, network=NetworkConfig(condition="label"))
    model = Autoencoder(spec, rows.layout).eval()
    calibrate(model, rows.matrix)
    few = np.array(rows.matrix.labels)
    few[np.flatnonzero(few == 1)[20:]] = 0
    prior = prior_of(model, replace(rows.matrix, labels=few))
    assert [one.codes for one in prior.strata] == [(1,)]


def test_the_lower_root_of_a_covariance_without_full_rank():
    wide = np.random.default_rng(0).normal(size=(5, 3))
    covariance = wide @ wide.T
    root = lower_root(covariance)
    assert np.allclose(root @ root.T, covariance, atol=1e-5)
    assert (np.triu(root, 1) == 0).all() and (np.diag(root) >= 0).all()


def test_a_prior_must_have_the_dimension_of_its_bundle():
    prior = {"mean": [0.0, 0.0], "factor": [[1.0, 0.0], [0.0, 1.0]]}
    said = {
        "format": 1, "feature_schema": {"columns": []}, "dim": 1, "recipe": "vae",
        "latent_names": ["embedding_0"], "widest_layer": 1, "training_data": {}, "split": {},
        "versions": {}, "parity": {},
    }  # fmt: skip
    assert Manifest.model_validate(said).prior is None
    with pytest.raises(ValueError, match=r"a prior of \[2\] numbers for dim 1"):
        Manifest.model_validate({**said, "prior": prior})
    whole, stratum = {"mean": [0.0], "factor": [[1.0]]}, {**prior, "codes": [1], "share": 0.5}
    with pytest.raises(ValueError, match=r"a prior of \[1, 2\] numbers for dim 1"):
        Manifest.model_validate({**said, "prior": {**whole, "strata": [stratum]}})
