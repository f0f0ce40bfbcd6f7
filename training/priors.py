"""How the embeddings of a trained model are spread: what rows are generated from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.manifest import Prior
from training.autoencoder import Autoencoder
from training.candidates import embed_rows
from training.matrix import TRAIN, Matrix

WIDEST = 512
"""Dimensions that a manifest holds a prior for: its numbers grow with their square."""
MOST_ROWS = 50_000

Floats = npt.NDArray[np.float64]


def prior_of(model: Autoencoder, matrix: Matrix) -> Prior | None:
    """The prior of `model`'s embedding; None where it has more than `WIDEST` dimensions.

    A gaussian code was taught to be N(0, I) before it was standardised. The spread of points is
    that of the training rows, at most 50,000 of them.
    """
    if model.spec.dim > WIDEST:
        return None
    if model.spec.latent == "gaussian":
        scale = model.latent.scale.double().numpy()
        return _prior(-model.latent.mean.double().numpy() * scale, np.diag(scale))
    rows = matrix.take(matrix.sample(TRAIN, limit=MOST_ROWS))
    codes = embed_rows(model, rows).astype(np.float64)
    # Standardised over all training rows, so the mean is 0 whatever the sample's.
    return _prior(np.zeros(model.spec.dim), lower_root(np.atleast_2d(np.cov(codes.T, ddof=0))))


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


def _prior(mean: Floats, factor: Floats) -> Prior:
    # Seven digits, as the embedding has.
    rows = [[float(f"{value:.7g}") for value in row] for row in factor]
    return Prior(mean=tuple(float(f"{v:.7g}") for v in mean), factor=tuple(map(tuple, rows)))
