"""Which columns tell anything of the labels, before a network reads them all.

A network that reads 500 columns of which 20 matter learns the noise of the other 480 first; trees
do not. So trees are asked, once: they see every column beside a shuffled copy of it, and a column
that helps them no more than the copies do is (nearly) shut.
"""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from training.layout import Layout
from training.matrix import TRAIN, Matrix, spread
from training.scoring import Task
from training.spec import Head
from training.targets import CLIP

ROWS = 5_000
TREES = 100
LEAST_ROWS_PER_LEAF = 3
LOUDEST = 2.0
"""No column is read louder than this, as a multiple of the usual kept column."""

SHUT = 0.4
"""How loud a column is read that was shut, perhaps by mistake, where most columns tell something;
where most tell nothing they are not read, for Adam learns noise however quiet it is."""

Floats = npt.NDArray[np.float64]


def unit_gates(matrix: Matrix, layout: Layout, heads: tuple[Head, ...], *, seed: int) -> Floats:
    """How loud each unit of the layout is to be read, [units].

    The root of the mean square over the labels. Gates of columns that are kept grow with the root
    of their importance, as the deviation of an input does with its share of the variance.
    """
    found = [
        _gates(matrix, layout, head, place, seed=seed) ** 2 for place, head in enumerate(heads)
    ]
    return np.sqrt(np.mean(found, axis=0)) if found else np.ones(layout.units)


def _gates(matrix: Matrix, layout: Layout, head: Head, place: int, *, seed: int) -> Floats:
    rows = matrix.where(TRAIN)
    rows = spread(rows[np.isfinite(matrix.labels[rows, place])], limit=ROWS)
    prepared = matrix.take(rows)
    columns = np.concatenate([prepared.numeric, prepared.codes.astype(np.float32)], axis=1)
    units = np.array((*layout.numeric_units, *layout.code_units), np.int64)
    if not len(units) or not len(rows):
        return np.ones(layout.units)
    own, copies = importances(columns, matrix.labels[rows, place], task=head.task, seed=seed)
    kept = own > _bars(columns, copies)
    if not kept.any():
        return np.ones(layout.units)
    shut = SHUT if 2 * kept.sum() >= len(kept) else 0.0
    loud = np.sqrt(own / own[kept].mean()).clip(shut, LOUDEST)
    gates = np.zeros(layout.units)
    np.maximum.at(gates, units, np.where(kept, loud, shut))
    return gates


def importances(
    columns: npt.NDArray[np.float32], label: Floats, *, task: Task, seed: int
) -> tuple[Floats, Floats]:
    """Importance of each column [W] and of its shuffled copy [W] to randomised trees.

    Source: the shadow columns of Boruta (Kursa & Rudnicki 2010, section 2), asked once.
    """
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    rng = np.random.default_rng(seed)
    copies = np.stack([rng.permutation(column) for column in columns.T], axis=1)
    kind = ExtraTreesRegressor if task == "numbers" else ExtraTreesClassifier
    trees = kind(
        TREES, max_features="sqrt", min_samples_leaf=LEAST_ROWS_PER_LEAF, random_state=seed
    )
    goal = label
    if task == "numbers":
        goal = ((label - label.mean()) / max(label.std(), 1e-12)).clip(-CLIP, CLIP)
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")  # classes of one row are no fault here
        trees.fit(np.concatenate([columns, copies], axis=1), goal)
    found = np.asarray(trees.feature_importances_, np.float64)
    return found[: columns.shape[1]], found[columns.shape[1] :]


def _bars(columns: npt.NDArray[np.float32], copies: Floats) -> Floats:
    """What a column must beat: the best copy that has no more distinct values than it has, [W].

    Trees find use in noise that takes many values, so a flag is not held to that.
    """
    distinct = np.array([len(np.unique(column)) for column in columns.T])
    order = np.argsort(distinct, kind="stable")
    best = np.maximum.accumulate(copies[order])
    last = np.searchsorted(distinct[order], distinct, side="right") - 1
    return best[last]
