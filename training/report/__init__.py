"""The report of an evaluation: what people look at, in one self-contained page."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.report.report import NUMBERS_FILE, PAGE_FILE, write_report

__all__ = ["NUMBERS_FILE", "PAGE_FILE", "write_report"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: other pages borrow the frame and the strokes where there is no torch.
    if name in __all__:
        return getattr(import_module("training.report.report"), name)
    raise AttributeError(f"module 'training.report' has no attribute {name!r}")
