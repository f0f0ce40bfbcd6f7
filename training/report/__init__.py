"""The report of an evaluation: what people look at, in one self-contained page."""

from training.report.report import NUMBERS_FILE, PAGE_FILE, write_report

__all__ = ["NUMBERS_FILE", "PAGE_FILE", "write_report"]
