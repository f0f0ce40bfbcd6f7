"""The serving side of parquet2vec: all that a CPU server needs, without torch.

>>> from pipeline import Encoder, EmbeddingJob, embed
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.bundle import Bundle
    from pipeline.config import EmbeddingJob, GenerationJob, MonitorJob
    from pipeline.drift_report import DriftReport
    from pipeline.encoder import Encoder
    from pipeline.generation import GenerationReport, generate
    from pipeline.job import JobReport, embed
    from pipeline.monitoring import monitor
    from pipeline.pinning import rollback, unpin
    from pipeline.resolution import resolve
    from pipeline.retention import gc
    from pipeline.verification import verify

# ONNX Runtime 1.31 for Linux keeps a device id and a database of every session below ~/.cache, to
# be uploaded; it reads this when it is imported, and DO_NOT_TRACK is not enough.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "Bundle",
    "DriftReport",
    "EmbeddingJob",
    "Encoder",
    "GenerationJob",
    "GenerationReport",
    "JobReport",
    "MonitorJob",
    "embed",
    "gc",
    "generate",
    "monitor",
    "resolve",
    "rollback",
    "unpin",
    "verify",
]

_HOMES = {
    "Bundle": "pipeline.bundle",
    "DriftReport": "pipeline.drift_report",
    "EmbeddingJob": "pipeline.config",
    "Encoder": "pipeline.encoder",
    "GenerationJob": "pipeline.config",
    "GenerationReport": "pipeline.generation",
    "JobReport": "pipeline.job",
    "MonitorJob": "pipeline.config",
    "embed": "pipeline.job",
    "generate": "pipeline.generation",
    "gc": "pipeline.retention",
    "monitor": "pipeline.monitoring",
    "resolve": "pipeline.resolution",
    "rollback": "pipeline.pinning",
    "unpin": "pipeline.pinning",
    "verify": "pipeline.verification",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that a command line's --help loads neither Arrow nor a runtime.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
