from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from training.candidates import embed_rows, make
from training.principal import Moments, components, count_codes, discriminant, one_hot
from training.recipes import concrete
from training.spec import TrainingConfig

DIM = 5


@pytest.fixture(scope="module")
def linear(rows):
    return make(
        concrete("linear", dim=DIM),
        matrix=rows.matrix,
        layout=rows.layout,
        moments=rows.moments,
        config=TrainingConfig(),
        seed=0,
    )[0]


def columns(rows, prepared) -> np.ndarray:
    kept = rows.moments.kept
    hot = one_hot(prepared.codes, rows.layout, kept, int(kept.max()) + 1).toarray()
    numbers = prepared.numeric[:, ~np.array(rows.layout.waves)]
    return np.concatenate([numbers, hot], axis=1).astype(np.float64)


def test_codes_are_scikit_learns_whitened_components(rows, linear):
    train = columns(rows, rows.matrix.take(rows.matrix.where(0)))
    test = rows.matrix.take(rows.matrix.where(2))
    expected = PCA(DIM, whiten=True, svd_solver="full").fit(train).transform(columns(rows, test))
    found = embed_rows(linear, test)
    signs = np.sign((expected * found).sum(0))
    assert np.abs(expected * signs - found).max() < 0.01


def test_numbers_decode_as_the_inverse_of_the_components(rows, linear):
    train = columns(rows, rows.matrix.take(rows.matrix.where(0)))
    test = rows.matrix.take(rows.matrix.where(2))
    pca = PCA(DIM, svd_solver="full").fit(train)
    expected = pca.inverse_transform(pca.transform(columns(rows, test)))
    found = linear.decode(torch.from_numpy(embed_rows(linear, test))).numeric.detach().numpy()
    read = ~np.array(rows.layout.waves)
    values = ~np.array(rows.layout.binary)[read]
    found = found[:, read]
    assert np.abs(expected[:, : len(values)] - found)[:, values].max() < 0.02


def test_decoded_categories_are_better_than_the_commonest(rows, linear):
    test = rows.matrix.take(rows.matrix.where(2))
    logits = linear.decode(torch.from_numpy(embed_rows(linear, test))).logits.detach().numpy()
    first = logits[:, : rows.layout.classes[0]].argmax(1)
    truth = test.codes[:, 0]
    assert (first == truth).mean() > np.bincount(truth).max() / len(truth) + 0.1


def test_the_least_varying_categories_are_dropped(rows, monkeypatch):
    dense = len(rows.layout.numeric_units) + len(rows.layout.ranked_units)
    monkeypatch.setattr("training.principal.WIDEST", dense + 3)
    counts = count_codes(rows.matrix.blocks(0), rows.layout)
    moments = Moments.of(rows.matrix.blocks(0), rows.layout, counts)
    share = counts / moments.rows
    kept = moments.kept >= 0
    assert kept.sum() == 3
    spread = share * (1 - share)
    assert spread[kept].min() >= spread[~kept & (share < 1)].max()


def test_more_components_than_columns_leave_dead_units(rows):
    found = components(rows.moments, rows.layout, dim=100, reads="standardised")
    assert (np.abs(found.loadings).sum(0) > 0).sum() < 100
    assert found.loadings.shape == (len(rows.moments.mean), 100)


def test_the_iterative_solver_agrees_with_the_dense_one(rows, monkeypatch):
    dense = components(rows.moments, rows.layout, dim=3, reads="both")
    monkeypatch.setattr("training.principal.DENSE_EIGEN", 4)
    iterative = components(rows.moments, rows.layout, dim=3, reads="both")
    assert np.allclose(dense.loadings, iterative.loadings, atol=1e-6)


def test_a_constant_column_does_no_harm(rows):
    covariance = rows.moments.covariance.copy()
    covariance[0] = covariance[:, 0] = 0
    still = replace(rows.moments, covariance=covariance)
    assert np.isfinite(components(still, rows.layout, dim=4, reads="both").loadings).all()


def test_discriminants_give_class_probabilities():
    rng = np.random.default_rng(0)
    label = (rng.random(50_000) < 0.2).astype(int)
    score = np.stack([rng.normal(size=50_000) + 2 * label, rng.normal(size=50_000)], 1)
    score = (score - score.mean(0)) / score.std(0)
    shares = np.bincount(label) / len(label)
    centres = np.stack([score[label == k].mean(0) for k in (0, 1)])
    weight, bias = discriminant(centres, shares, rows=len(label))
    logits = score @ weight.T + bias
    chance = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    assert abs(chance[chance > 0.5].mean() - label[chance > 0.5].mean()) < 0.03
