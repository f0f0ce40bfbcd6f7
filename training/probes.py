"""Small models that ask how much a representation tells about a label, and how fast they learn.

A probe is one row in the table at the foot. Every probe sees the same rows of every
representation; seeds are fixed; times are wall seconds of this process.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from training.scoring import Array, Task

NEIGHBOURS = 15
ROUNDS = 100  # of boosting; fewer for many classes, where each round grows one tree per class
ITERATIONS = 300  # of L-BFGS; raw columns seldom need more

_SHORT_SECONDS = 0.2
_REPEATS = 3

ProbeName = Literal["linear", "kNN", "trees"]


@dataclass(frozen=True)
class Answer:
    """What one probe predicted for the test rows [rows], and the seconds it took.

    For two classes `predicted` is the score of class 1, for more the class number, for numbers
    the value.
    """

    predicted: Array
    fit_seconds: float
    predict_seconds: float


@dataclass(frozen=True)
class Probe:
    """A kind of small model: what it is, in words, and how to build it for a task."""

    describes: str
    build: Callable[[Task, int, int], Any]


def ask(
    name: ProbeName,
    train: npt.NDArray[np.float32],
    label: Array,
    test: npt.NDArray[np.float32],
    *,
    task: Task,
    classes: int = 0,
    seed: int = 0,
) -> Answer:
    """Fit probe `name` on `train` [rows, columns] and `label` [rows], and predict for `test`.

    `label` holds class numbers 0 … `classes` - 1, or float64 values when `task` is "numbers".
    """
    return answer(PROBES[name], train, label, test, task=task, classes=classes, seed=seed)


def answer(
    probe: Probe,
    train: npt.NDArray[np.float32],
    label: Array,
    test: npt.NDArray[np.float32],
    *,
    task: Task,
    classes: int = 0,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Answer:
    """What `ask` gives, of any probe, timed by `clock`.

    What takes less than 0.2 s is repeated, and the fastest run counts: small times then compare.
    Everything runs on one thread: times then compare across machines, and a busy neighbour does
    not stall teams of threads that wait for each other.
    """

    def fit() -> Any:
        model = probe.build(task, classes, seed)
        with warnings.catch_warnings():
            # Stopping at ITERATIONS is part of the probe: its time is bounded, its score told.
            warnings.simplefilter("ignore")
            model.fit(train, label)
        return model

    def predict() -> Any:
        if task != "two classes":
            return model.predict(test)
        if hasattr(model, "predict_proba"):
            return model.predict_proba(test)[:, 1]
        return model.decision_function(test)

    with threadpool_limits(1):
        model, fit_seconds = _timed(fit, clock)
        predicted, predict_seconds = _timed(predict, clock)
    return Answer(np.asarray(predicted), fit_seconds, predict_seconds)


def _timed(call: Callable[[], Any], clock: Callable[[], float]) -> tuple[Any, float]:
    """What `call` gives, and the seconds of its fastest run."""
    seconds: list[float] = []
    while not seconds or (sum(seconds) < _SHORT_SECONDS and len(seconds) < _REPEATS):
        started = clock()
        result = call()
        seconds.append(clock() - started)
    return result, min(seconds)


def _linear(task: Task, classes: int, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if task == "numbers":
        return make_pipeline(StandardScaler(), Ridge(alpha=1.0))
    return make_pipeline(
        StandardScaler(), LogisticRegression(C=1.0, max_iter=ITERATIONS, random_state=seed)
    )


def _neighbours(task: Task, classes: int, seed: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    model = KNeighborsRegressor if task == "numbers" else KNeighborsClassifier
    return _AtMostAllRows(
        lambda rows: model(min(NEIGHBOURS, rows), algorithm="brute", weights="distance")
    )


class _AtMostAllRows:
    """A nearest-neighbour model whose number of neighbours fits tables smaller than it."""

    def __init__(self, build: Callable[[int], Any]) -> None:
        self._build = build

    def fit(self, train: npt.NDArray[np.float32], label: Array) -> None:
        self._model = self._build(len(train)).fit(train, label)

    def predict(self, test: npt.NDArray[np.float32]) -> Any:
        return self._model.predict(test)

    def predict_proba(self, test: npt.NDArray[np.float32]) -> Any:
        return self._model.predict_proba(test)


def _trees(task: Task, classes: int, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    settings = {"early_stopping": False, "random_state": seed}
    if task == "numbers":
        return HistGradientBoostingRegressor(max_iter=ROUNDS, **settings)
    rounds = ROUNDS if classes <= 2 else min(ROUNDS, max(30, 4 * ROUNDS // classes))
    return HistGradientBoostingClassifier(max_iter=rounds, **settings)


PROBES: dict[ProbeName, Probe] = {
    "linear": Probe("logistic regression (ridge for numbers) on standardised columns", _linear),
    "kNN": Probe(f"{NEIGHBOURS} nearest neighbours, weighted by distance", _neighbours),
    "trees": Probe(f"histogram gradient boosting, {ROUNDS} rounds at most", _trees),
}
