"""The probes of `quality.py`: those of every report, and two that only a benchmark asks.

Reports do without them: on a wide table they take longer than everything else together.
"""

from __future__ import annotations

from typing import Any

from training.probes import PROBES as REPORTED
from training.probes import Probe
from training.scoring import Task

HIDDEN_UNITS = 64
EPOCHS = 60  # at most; it stops when the loss does not fall any more
PASSES = 30


def _svm(task: Task, classes: int, seed: int) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC, LinearSVR

    if task == "numbers":
        model = LinearSVR(C=0.1, tol=0.1, max_iter=PASSES, random_state=seed)
    else:
        # Two classes converge in a few Newton steps; ten on wide tables take minutes of them, so
        # they are solved by coordinates, whose passes over the rows can be bounded.
        model = LinearSVC(C=0.1, tol=0.1, dual=classes > 2, max_iter=PASSES, random_state=seed)
    return make_pipeline(StandardScaler(), model)


def _network(task: Task, classes: int, seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = MLPRegressor if task == "numbers" else MLPClassifier
    network = model(
        hidden_layer_sizes=(HIDDEN_UNITS,), batch_size=128, max_iter=EPOCHS, random_state=seed
    )
    return make_pipeline(StandardScaler(), network)


PROBES: dict[str, Probe] = {
    "linear": REPORTED["linear"],
    "SVM": Probe(f"linear support vector machine, C = 0.1, {PASSES} passes at most", _svm),
    "MLP": Probe(f"one hidden layer of {HIDDEN_UNITS} units, {EPOCHS} epochs at most", _network),
    "kNN": REPORTED["kNN"],
    "trees": REPORTED["trees"],
}
