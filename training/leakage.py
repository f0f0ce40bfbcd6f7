"""Signs that test rows are not as new as they look, or that a column holds the answer.

Warnings, not errors: each sign has innocent causes, and only the reader knows them. Looked for in
the rows that an evaluation drew, so that a sign which shows on few of many rows may be missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.baselines import Categories, Matrix, Numbers, RawMatrix
from training.rows import Target
from training.scoring import METRICS, Task, score

PREFIX = "Possible leakage: "

EQUAL_SHARE = 0.01
"""Test rows equal to a training row, from which on they are told of."""

GIVEN_AWAY: dict[Task, float] = {"two classes": 0.995, "classes": 0.99, "numbers": 0.995}
"""Score of one column alone that no honest column of a hard table has."""

TREE_ROWS, TREE_DEPTH, LEAF_ROWS = 5_000, 10, 5
WIDEST_BLOCK = 300

LEAST_GROUPS, ROWS_PER_GROUP = 20, 2.0
PURE, USUAL = 0.95, 0.8
"""Share of rows with their group's usual label that looks like a group, and that of all rows."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """What is looked at: the raw matrices, the label, and the rule that made test rows test rows.

    `rule` is that of `training.split.Split`, or "given" for test rows from another place.
    """

    raw: RawMatrix
    train: Matrix
    test: Matrix
    goal: Target | None
    rule: str


def suspicions(rows: Rows) -> tuple[str, ...]:
    """A sentence for each sign of leakage; none where there is none."""
    return tuple(PREFIX + said for sign in SIGNS for said in sign(rows))


def equal_rows(rows: Rows) -> Iterator[str]:
    """Test rows with the very features of a training row: the probe may have learnt them."""
    train, test = (_hashes(part) for part in (rows.train, rows.test))
    share = float(np.isin(test, train).mean()) if len(test) else 0.0
    if share >= EQUAL_SHARE:
        yield (
            f"{share:.0%} of the test rows have the same features as a training row; if these are "
            "copies, remove them, or give the column that tells copies apart as --key."
        )


def unordered_time(rows: Rows) -> Iterator[str]:
    """A time among the features, where test rows were not taken from the end of it."""
    times = [column.name for column in rows.raw.schema.by_kind("timestamp")]
    if times and rows.rule in ("key", "position"):
        yield (
            f"'{times[0]}' is a time, but test rows were drawn from all of it; if the future is to "
            f"be predicted, train with --event-time {times[0]}."
        )


def groups(rows: Rows) -> Iterator[str]:
    """A category that names what rows belong to: nearly all rows of a group have one label."""
    if rows.goal is None or rows.goal.task == "numbers" or rows.rule not in ("key", "position"):
        return
    label = rows.goal.train.astype(np.int64)
    usual = np.bincount(label).max() / len(label)
    if usual > USUAL:
        return
    for name, part in rows.raw.slices().items():
        if not isinstance(rows.raw.blocks[name], Categories):
            continue
        # The last column stands for all rare values, which are no group.
        hot = rows.train[:, part][:, :-1]
        known = hot.any(axis=1)
        group, own = hot[known].argmax(axis=1), label[known]
        count = len(np.unique(group))
        if count < LEAST_GROUPS or known.mean() < 0.5 or known.sum() < ROWS_PER_GROUP * count:
            continue
        counts = np.zeros((hot.shape[1], label.max() + 1))
        np.add.at(counts, (group, own), 1)
        # A row says nothing of its own group, or groups of one row would all be pure.
        counts_of_others = counts[group]
        counts_of_others[np.arange(len(own)), own] -= 1
        pure = float((counts_of_others.argmax(axis=1) == own).mean())
        if pure >= PURE:
            yield (
                f"{pure:.0%} of the rows have the label that others with the same '{name}' have; "
                f"if '{name}' says whom a row is about, split by it: --key {name}."
            )


def telling_columns(rows: Rows) -> Iterator[str]:
    """A column that alone gives the label away: it may be known only after the label is."""
    if rows.goal is None:
        return
    goal = rows.goal
    known = goal.test.astype(np.float64) >= 0 if goal.classes else np.ones(len(goal.test), bool)
    for name, part in rows.raw.slices().items():
        if part.stop - part.start > WIDEST_BLOCK or not _is_one(rows.raw, name):
            continue
        found = _alone(rows.train[:, part], goal, rows.test[known, part], goal.test[known])
        if found >= GIVEN_AWAY[goal.task]:
            yield (
                f"'{name}' alone predicts the label with {METRICS[goal.task]} {found:.3f}; if it "
                f"is known only after the label, leave it out: --ignore {name}."
            )


def _is_one(raw: RawMatrix, name: str) -> bool:
    block = raw.blocks[name]
    return not isinstance(block, Numbers) or len(block.mean) == 1


def _alone(train: Matrix, goal: Target, test: Matrix, truth: npt.NDArray[np.generic]) -> float:
    """Test score of a small tree that reads these columns [rows, width] alone."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeRegressor if goal.task == "numbers" else DecisionTreeClassifier
    tree = kind(max_depth=TREE_DEPTH, min_samples_leaf=LEAF_ROWS, random_state=0)
    some = np.linspace(0, len(train) - 1, min(len(train), TREE_ROWS)).astype(np.int64)
    if len(np.unique(goal.train[some])) < 2:
        return 0.0
    tree.fit(train[some], goal.train[some])
    two = goal.task == "two classes"
    predicted = tree.predict_proba(test)[:, 1] if two else tree.predict(test)
    found = float(score(goal.task, truth, predicted, np.ones((1, len(truth))))[0])
    return found if np.isfinite(found) else 0.0


def _hashes(matrix: Matrix) -> npt.NDArray[np.int64]:
    """A number for each row, equal for equal rows."""
    rows = matrix + np.float32(0)  # no negative zeros
    return np.array([hash(row.tobytes()) for row in rows], np.int64)


Sign = Callable[[Rows], Iterator[str]]
SIGNS: tuple[Sign, ...] = (equal_rows, unordered_time, groups, telling_columns)
