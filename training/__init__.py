"""Training of the autoencoder family: torch lives here and in `export`, nowhere else.

>>> from training import TableEmbedder, TrainingJob, evaluate
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.checkpoint import Checkpoint
    from training.estimator import TableEmbedder
    from training.evaluation import evaluate
    from training.report import write_report
    from training.results import Evaluation
    from training.spec import TrainingJob

__all__ = ["Checkpoint", "Evaluation", "TableEmbedder", "TrainingJob", "evaluate", "write_report"]

_HOMES = {
    "Checkpoint": "training.checkpoint",
    "Evaluation": "training.results",
    "TableEmbedder": "training.estimator",
    "TrainingJob": "training.spec",
    "evaluate": "training.evaluation",
    "write_report": "training.report",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that a command line's --help loads no torch.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'training' has no attribute {name!r}")
