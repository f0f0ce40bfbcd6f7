"""How the embeddings of a trained model are spread: what rows are generated from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from pipeline.manifest import Prior, Spread, Stratum
from training.autoencoder import Autoencoder
from training.candidates import embed_rows, runs
from training.loop import to_rows
from training.matrix import TRAIN, Batch, Matrix

WIDEST = 512
"""Dimensions that a manifest holds a prior for: its numbers grow with their square."""
MOST_ROWS = 50_000
FEWEST_ROWS = 30
"""Training rows with the same conditions whose spread can be told."""

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


def prior_of(model: Autoencoder, matrix: Matrix) -> Prior | None:
    """The prior of `model`'s embedding; None where it has more than `WIDEST` dimensions.

    A gaussian code was taught to be N(0, I) before it was standardised. The spread of points is
    that of the training rows, at most 50,000 of them, and so is that of the rows under a condition.
    """
    if model.spec.dim > WIDEST:
        return None
    batch = matrix.batch(matrix.sample(TRAIN, limit=MOST_ROWS))
    strata = () if model.conditions is None else _strata(model, batch)
    return Prior(**dict(_whole(model, batch)), strata=strata)


def lower_root(covariance: Floats) -> Floats:
    """The lower triangular L with L @ L.T = covariance, which need not have full rank.

    >>> lower_root(np.array([[4.0, 2.0], [2.0, 1.0]]))
    array([[2., 0.],
           [1., 0.]])
    """
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    upper = np.linalg.qr(root.T)[1]
    signs = np.where(np.diag(upper) < 0, -1.0, 1.0)
    lower: Floats = np.round((upper * signs[:, None]).T, 7) + 0.0
    return lower


def _whole(model: Autoencoder, batch: Batch) -> Spread:
    """The spread of all rows."""
    if model.spec.latent == "gaussian":
        scale = model.latent.scale.double().numpy()
        return _spread(-model.latent.mean.double().numpy() * scale, np.diag(scale))
    codes = embed_rows(model, batch.rows).astype(np.float64)
    # Standardised over all training rows, so the mean is 0 whatever the sample's.
    return _spread(np.zeros(model.spec.dim), lower_root(np.atleast_2d(np.cov(codes.T, ddof=0))))


def _strata(model: Autoencoder, batch: Batch) -> tuple[Stratum, ...]:
    """The spread of the codes under each frequent combination of conditions.

    An encoder is to leave to the decoder's condition what that tells, and never does so entirely:
    what the codes say of it all the same must agree with it in a row that is drawn. A normal
    distribution is fitted to the codes that the encoder draws, their own noise included. Source:
    Ghosh et al. 2020 (arXiv 1903.12436), section 4, given the condition.
    """
    told = _told(model, batch)
    if not told.shape[1]:
        return ()
    codes, noise = embed_rows(model, batch.rows).astype(np.float64), _noise(model, batch)
    rows, dim = codes.shape
    distinct, member, counts = np.unique(told, axis=0, return_inverse=True, return_counts=True)
    member = member.reshape(-1)
    means = np.zeros((len(counts), dim))
    np.add.at(means, member, codes)
    means /= counts[:, None]
    within = codes - means[member]
    pooled = _covariance(within, noise)
    frequent = np.argsort(-counts, kind="stable")[: WIDEST**2 // dim**2]
    found = []
    for place in frequent[counts[frequent] >= FEWEST_ROWS].tolist():
        own, count = member == place, int(counts[place])
        # As if as many more rows as there are dimensions lay like those of all conditions do.
        shrunk = (count * _covariance(within[own], noise[own]) + dim * pooled) / (count + dim)
        spread = _spread(means[place], lower_root(shrunk))
        prepared, share = tuple(map(int, distinct[place])), float(f"{count / rows:.7g}")
        found.append(Stratum(**dict(spread), codes=prepared, share=share))
    return tuple(found)


def _covariance(within: Floats, noise: Floats) -> Floats:
    """That of codes around their mean [N, d], each with independent noise of a variance [N, d]."""
    found: Floats = within.T @ within / len(within) + np.diag(noise.mean(axis=0))
    return found


def _told(model: Autoencoder, batch: Batch) -> Codes:
    """The prepared categories [N, H] that the decoder is told."""
    told = model.condition_of(to_rows(batch.rows), torch.from_numpy(batch.labels))
    return np.zeros((len(batch.labels), 0), np.int64) if told is None else told.codes.numpy()


def _noise(model: Autoencoder, batch: Batch) -> Floats:
    """The variance [N, d] that the encoder gives the embeddings of rows; 0 of points."""
    found = [np.zeros((0, model.spec.dim))]
    for part in runs(model, batch.rows):
        if model.spread is None:
            found.append(np.zeros((len(part.codes), model.spec.dim)))
            continue
        with torch.no_grad():
            log_variance = model.posterior(to_rows(part))[1]
            found.append((log_variance.exp() * model.latent.scale.square()).double().numpy())
    return np.concatenate(found)


def _spread(mean: Floats, factor: Floats) -> Spread:
    # Seven digits, as the embedding has.
    rows = [[float(f"{value:.7g}") for value in row] for row in factor]
    return Spread(mean=tuple(float(f"{v:.7g}") for v in mean), factor=tuple(map(tuple, rows)))
