"""Principal components in closed form: the recipe `linear`, and where the others start from.

Moments are gathered in one pass over the matrix in float64; one-hot columns are never written out,
their products with other columns are sums over codes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch
from scipy.linalg import eigh
from scipy.sparse.linalg import eigsh

from pipeline.prologue import Prepared
from training.autoencoder import Autoencoder
from training.convolution import ConvDecoder
from training.layout import Layout

WIDEST = 4096
"""Columns, one-hot ones included, that the covariance may have; the least varying are dropped."""

DENSE_EIGEN = 1024
SHRINK = 0.05
RARITY = 5.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of [numeric, ranked, kept one-hot columns], float64.

    `kept` gives, for each row of the embedding table, its place among the one-hot columns or -1;
    `shares` is the share of rows with each code, `low` and `high` the extremes of dense columns.
    """

    mean: Floats
    covariance: Floats
    kept: npt.NDArray[np.int64]
    shares: Floats
    low: Floats
    high: Floats
    rows: int

    @staticmethod
    def of(blocks: Iterable[Prepared], layout: Layout, counts: Floats) -> Moments:
        """Moments of a stream of blocks; `counts` holds the rows of each code, one pass before."""
        dense = len(layout.numeric_units) + len(layout.ranked_units)
        rows = 0
        kept = _kept(counts, layout, room=WIDEST - dense)
        total = int(kept.max(initial=-1)) + 1
        low, high = np.full(dense, np.inf), np.full(dense, -np.inf)
        sums = np.zeros(dense + total)
        products = np.zeros((dense + total, dense + total))
        for block in blocks:
            values = np.concatenate([block.numeric, block.ranked], axis=1).astype(np.float64)
            hot = one_hot(block.codes, layout, kept, total)
            rows += len(values)
            low, high = np.minimum(low, values.min(0)), np.maximum(high, values.max(0))
            sums += np.concatenate([values.sum(0), np.asarray(hot.sum(0)).ravel()])
            products[:dense, :dense] += values.T @ values
            products[dense:, :dense] += hot.T @ values
            products[dense:, dense:] += (hot.T @ hot).toarray()
        products[:dense, dense:] = products[dense:, :dense].T
        mean = sums / max(1, rows)
        covariance = products / max(1, rows) - np.outer(mean, mean)
        return Moments(mean, covariance, kept, counts / max(1, rows), low, high, rows)


def count_codes(blocks: Iterable[Prepared], layout: Layout) -> Floats:
    """Rows of each code, [sum of cardinalities], columns one after another."""
    counts = np.zeros(sum(layout.cardinalities))
    for block in blocks:
        flat = (block.codes + np.array(layout.offsets, np.int64)).ravel()
        counts += np.bincount(flat, minlength=len(counts))
    return counts


def one_hot(
    codes: npt.NDArray[np.int64], layout: Layout, kept: npt.NDArray[np.int64], total: int
) -> scipy.sparse.csr_matrix:
    """Codes [N, C] as a sparse matrix [N, total] of ones at the kept columns."""
    columns = kept[codes + np.array(layout.offsets, np.int64)]
    here = columns >= 0
    ends = np.concatenate([[0], np.cumsum(here.sum(1))])
    ones = np.ones(int(ends[-1]))
    return scipy.sparse.csr_matrix((ones, columns[here], ends), shape=(len(codes), total))


def _kept(counts: Floats, layout: Layout, *, room: int) -> npt.NDArray[np.int64]:
    share = counts / max(1.0, counts.sum() / max(1, len(layout.cardinalities)))
    spread = share * (1 - share)
    spread[list(layout.offsets)] = 0  # 'unknown' is all zeros, as a one-hot encoder has it
    best = np.argsort(-spread, kind="stable")[: max(0, room)]
    kept = np.full(len(counts), -1, np.int64)
    chosen = np.sort(best[spread[best] > 0])
    kept[chosen] = np.arange(len(chosen))
    return kept


@dataclass(frozen=True)
class Components:
    """Loadings [W, d] that give standardised scores: score = (x - mean) @ loadings."""

    loadings: Floats
    deviation: Floats


def components(moments: Moments, layout: Layout, *, dim: int, reads: str) -> Components:
    """The first `dim` principal components of the columns of a view (`EncoderSpec.view`).

    Scores have variance 1; components beyond the rank are zero. The sign makes the largest
    loading positive, so that a run repeats.
    """
    use = _read(moments, layout, reads)
    inner = moments.covariance[np.ix_(use, use)]
    count = min(dim, len(use))
    if len(use) <= DENSE_EIGEN or count * 4 > len(use):
        values, vectors = eigh(inner, subset_by_index=[len(use) - count, len(use) - 1])
    else:
        values, vectors = eigsh(inner, k=count, which="LA", v0=np.ones(len(use)))
    order = np.argsort(-values)
    values, vectors = values[order], vectors[:, order]
    vectors *= np.sign(vectors[np.abs(vectors).argmax(0), np.arange(count)])
    alive = values > 1e-9 * max(float(values[0]), 1e-30)
    deviation = np.sqrt(np.where(alive, values, 1.0))
    loadings = np.zeros((len(moments.mean), dim))
    loadings[use, :count] = np.where(alive, vectors / deviation, 0.0)
    return Components(loadings, np.pad(np.where(alive, deviation, 0.0), (0, dim - count)))


def _read(moments: Moments, layout: Layout, reads: str) -> npt.NDArray[np.int64]:
    use = np.ones(len(moments.mean), bool)
    numbers, ranks = len(layout.numeric_units), len(layout.ranked_units)
    # Six waves a time column would take the first components from columns that have one value.
    use[:numbers] = ~np.array(layout.waves, bool)
    if reads == "standardised":
        use[numbers : numbers + ranks] = False
    elif reads == "ranked":
        use[:numbers] &= ~np.array(layout.reranked, bool)
    return np.flatnonzero(use)


def install(model: Autoencoder, moments: Moments, found: Components) -> None:
    """Set `model`'s linear path to the components and its linear decoder to the best inverse."""
    layout, dim = model.layout, model.spec.dim
    dense = model.numbers + model.ranks
    with torch.no_grad():
        assert model.path is not None
        model.path.weight.zero_()
        wide = dense if model.reads_ranked else model.numbers
        model.path.weight[:, :wide] = torch.tensor(found.loadings[:wide].T)
        if layout.cardinalities:
            hot = np.concatenate([found.loadings[dense:], np.zeros((1, dim))])
            model.table.weight[:, :dim] = torch.tensor(hot[moments.kept])
            for column in range(len(layout.cardinalities)):
                start = wide + column * model.cell_width
                model.path.weight[:, start : start + dim] = torch.eye(dim)
        model.path.bias.copy_(torch.tensor(-(moments.mean @ found.loadings)))
        last: torch.nn.Module | None = None
        if isinstance(model.decoder, ConvDecoder):
            last = model.decoder.path
        elif isinstance(model.decoder, torch.nn.Sequential):
            last = model.decoder[-1]
        if isinstance(last, torch.nn.Linear) and last.in_features == dim:
            weight, bias = inverse(moments, layout, found)
            last.weight.copy_(torch.tensor(weight))
            last.bias.copy_(torch.tensor(bias))


def inverse(moments: Moments, layout: Layout, found: Components) -> tuple[Floats, Floats]:
    """Weight [P, d] and bias [P] of the decoder from scores, each part the best of its kind.

    Values: least squares. Binary slots and categories: linear discriminants, whose softmax is the
    class probability when scores are normal within a class (Hastie, Tibshirani & Friedman, The
    Elements of Statistical Learning, equation 4.10); they need nothing but the covariance.
    """
    dense, dim = len(moments.low), found.loadings.shape[1]
    # Covariance of every column with every score.
    slope = moments.covariance @ found.loadings
    weight, bias = slope[:dense].copy(), moments.mean[:dense].copy()
    for slot in np.flatnonzero(layout.binary):
        spread = moments.high[slot] - moments.low[slot]
        share = (moments.mean[slot] - moments.low[slot]) / max(spread, 1e-12)
        variance = max(moments.covariance[slot, slot], 1e-12)
        apart = slope[slot] / variance * spread
        centres = np.stack([-share * apart, (1 - share) * apart])
        pair, offset = discriminant(centres, np.array([1 - share, share]), rows=moments.rows)
        weight[slot], bias[slot] = pair[1] - pair[0], offset[1] - offset[0]
    weights, biases = [weight], [bias]
    hot = np.concatenate([slope[dense:], np.zeros((1, dim))])
    for start, cardinality, classes in zip(
        layout.offsets, layout.cardinalities, layout.classes, strict=True
    ):
        sums = hot[moments.kept[start : start + cardinality]]
        shares = moments.shares[start : start + cardinality].copy()
        sums[2] += sums[classes:].sum(0)
        shares[2] += shares[classes:].sum()
        sums, shares = sums[:classes], shares[:classes]
        centres = sums / (shares + RARITY / max(1, moments.rows))[:, None]
        part, offset = discriminant(centres, shares, rows=moments.rows)
        weights.append(part)
        biases.append(offset)
    return np.concatenate(weights), np.concatenate(biases)


def discriminant(centres: Floats, shares: Floats, *, rows: int) -> tuple[Floats, Floats]:
    """Weight [K, d] and bias [K] of the classes' logits from their mean scores and shares."""
    within = np.eye(centres.shape[1]) - (centres.T * shares) @ centres
    within = (1 - SHRINK) * within + SHRINK * np.eye(len(within))
    weight = np.asarray(np.linalg.solve(within, centres.T).T, np.float64)
    prior = np.asarray(np.log(np.maximum(shares, 0.5 / max(1, rows))), np.float64)
    return weight, prior - 0.5 * (weight * centres).sum(1)


def balance(model: Autoencoder, moments: Moments) -> None:
    """Tell `model`'s likelihood the values of binary slots and the entropy of its columns."""
    layout = model.layout
    spread = np.maximum(moments.high - moments.low, 1e-12)
    share = np.clip((moments.mean[: len(spread)] - moments.low) / spread, 1e-9, 1 - 1e-9)
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    code_entropy = []
    for start, cardinality in zip(layout.offsets, layout.cardinalities, strict=True):
        shares = np.maximum(moments.shares[start : start + cardinality], 1e-12)
        code_entropy.append(-(shares * np.log(shares)).sum())
    model.likelihood.balance(
        low=torch.tensor(moments.low, dtype=torch.float32),
        high=torch.tensor(moments.high, dtype=torch.float32),
        binary_entropy=torch.tensor(_of_columns(entropy, layout), dtype=torch.float32),
        code_entropy=torch.tensor(code_entropy, dtype=torch.float32),
    )


def _of_columns(entropy: Floats, layout: Layout) -> Floats:
    """Entropies of the slots [D + R], the values of one column having their mean.

    Pixels are then as important as each other: by its own entropy, one that hardly ever is
    anything but black would weigh ten times as much as one of the figure.
    """
    values = np.flatnonzero(~np.array(layout.binary, dtype=bool))
    columns = np.array(layout.numeric_columns, dtype=np.int64)[values]
    total = np.bincount(columns, weights=entropy[values])
    found = entropy.copy()
    found[values] = (total / np.maximum(1, np.bincount(columns)))[columns]
    return found
