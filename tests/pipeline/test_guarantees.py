"""The page of guarantees names a test for each of them; every name must be there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_named_as_evidence_exists() -> None:
    page = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    known = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        known |= {path.stem, *re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))}
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 30
    assert named - known == set()
