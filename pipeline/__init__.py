"""The serving side of parquet2vec: all that a CPU server needs, without torch.

>>> from pipeline import Encoder, EmbeddingJob, embed
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.bundle import Bundle
    from pipeline.config import EmbeddingJob
    from pipeline.encoder import Encoder
    from pipeline.job import JobReport, embed
    from pipeline.verification import verify

__all__ = ["Bundle", "EmbeddingJob", "Encoder", "JobReport", "embed", "verify"]

_HOMES = {
    "Bundle": "pipeline.bundle",
    "EmbeddingJob": "pipeline.config",
    "Encoder": "pipeline.encoder",
    "JobReport": "pipeline.job",
    "embed": "pipeline.job",
    "verify": "pipeline.verification",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that a command line's --help loads neither Arrow nor a runtime.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
