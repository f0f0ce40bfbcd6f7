"""How much of a suite runs: a share in `make test`, all of it in `make chaos`."""

from __future__ import annotations

import os
import random

import pytest

SEED = int(os.environ.get("CHAOS_SEED", "1"))


def sizes(share: int, whole: int) -> pytest.MarkDecorator:
    """Parametrises `size`: `share` in every run of the tests, `whole` under the mark chaos."""
    marks = [pytest.mark.chaos, pytest.mark.timeout(7200)]
    return pytest.mark.parametrize(
        "size", [share, pytest.param(whole, marks=marks)], ids=["share", "whole"]
    )


def seeded(*names: object) -> random.Random:
    """Random numbers that depend on CHAOS_SEED and on `names`."""
    return random.Random(f"{SEED} {names}")


def spread(count: int, size: int) -> list[int]:
    """At most `size` of the numbers 1 … `count`, evenly spread, both ends among them."""
    if size >= count:
        return list(range(1, count + 1))
    return sorted({1 + round(i * (count - 1) / max(1, size - 1)) for i in range(size)})
