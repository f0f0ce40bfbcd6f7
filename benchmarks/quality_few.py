"""Few labels: probes that learn from one in a hundred, drawn again and again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from training.baselines import Matrix
from training.probes import ITERATIONS, Probe, answer
from training.probes import PROBES as REPORTED
from training.rows import Target
from training.scoring import Task, resample, score

SHARE = 0.01
DRAWS = 20
LEAST = 5  # labels of each class
FREE = 32  # columns; more share what a prior allows these
PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)
FOLDS = 3

Indices = npt.NDArray[np.int64]


def _tuned(task: Task, classes: int, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    model = LogisticRegressionCV(
        Cs=list(PENALTIES), cv=folds, scoring="neg_log_loss", max_iter=ITERATIONS,
        l1_ratios=(0.0,), use_legacy_attributes=False, random_state=seed,
    )  # fmt: skip
    return make_pipeline(StandardScaler(), model)


def _shared(task: Task, classes: int, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    model = LogisticRegression(max_iter=ITERATIONS, random_state=seed)
    return make_pipeline(StandardScaler(), FunctionTransformer(_share), model)


def _share(rows: Matrix) -> Matrix:
    """Rows so short that C = 1 is C = `FREE` / columns of what they were."""
    return rows * min(1.0, FREE / rows.shape[1]) ** 0.5


FEW_PROBES: dict[str, Probe] = {
    "linear": REPORTED["linear"],
    "shared": Probe(
        f"logistic regression, C = {FREE} / columns where there are more than {FREE}", _shared
    ),
    "tuned": Probe(f"logistic regression, C by {FOLDS} folds of the few labels", _tuned),
    "kNN": REPORTED["kNN"],
    "trees": REPORTED["trees"],
}
"""Many columns and few labels ask for a strong penalty: a fixed one would not be fair to them."""
OURS = "shared"
"""What the embedding is judged by; the raw columns by whichever of all is best for them."""


def few_labels(
    train: Matrix,
    test: Matrix,
    goal: Target,
    *,
    all_rows: int,
    resamples: int,
    probes: Mapping[str, Probe] = FEW_PROBES,
) -> dict[str, list[float]]:
    """Scores of probes that see `SHARE` of the labels of a table of `all_rows` rows.

    By probe, [1 + resamples]: first the mean over `DRAWS`, then that mean under resampled draws
    and test rows. Equal arguments but `train` and `test` get equal draws and resamples, so that two
    representations can be compared in pairs. Empty where a class has under `LEAST` labels.
    """
    counts = wanted(goal, all_rows=all_rows)
    if goal.task == "numbers" or counts.min() < LEAST:
        return {}
    draws = [draw(goal, counts, seed=seed) for seed in range(DRAWS)]
    weights = resample(len(goal.test), resamples=resamples)
    again = np.random.default_rng(0).integers(DRAWS, size=(DRAWS, 1 + resamples))
    again[:, 0] = np.arange(DRAWS)
    found: dict[str, list[float]] = {}
    for name, probe in probes.items():
        scores = np.array(
            [
                score(
                    goal.task,
                    goal.test,
                    answer(
                        probe, train[rows], goal.train[rows], test,
                        task=goal.task, classes=len(goal.classes),
                    ).predicted,
                    weights,
                )
                for rows in draws
            ]
        )  # fmt: skip
        means = np.take_along_axis(scores, again, axis=0).mean(axis=0)
        found[name] = [round(float(mean), 5) for mean in means]
    return found


def wanted(goal: Target, *, all_rows: int) -> Indices:
    """Labels of each class that a draw holds, [classes]."""
    shares = np.bincount(goal.train, minlength=len(goal.classes)) / len(goal.train)
    return np.floor(SHARE * all_rows * shares + 1e-9).astype(np.int64)


def draw(goal: Target, counts: Indices, *, seed: int) -> Indices:
    """Rows of one draw, `counts` of each class, ascending."""
    random = np.random.default_rng(seed)
    parts = [
        random.permutation(np.flatnonzero(goal.train == which))[:count]
        for which, count in enumerate(counts)
    ]
    return np.sort(np.concatenate(parts))
