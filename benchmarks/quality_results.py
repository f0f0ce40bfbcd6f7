"""The results that `quality.py` has kept, found by table, representation and width."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from quality_claims import TIMED, Floats
from quality_measure import load
from quality_tables import Facts, Table

ORDER = ("unlabelled", "target-aware", "PCA", "kernel PCA", "random", "raw")


@dataclass(frozen=True)
class Results:
    """Results by table, representation and width, each a list with one for every seed.

    Tables in `apart` are shown, but count in no mean.
    """

    facts: dict[str, Facts]
    kept: dict[tuple[str, str, int], list[dict[str, Any]]]
    apart: tuple[str, ...]

    @property
    def tables(self) -> list[str]:
        """All tables, in alphabetical order."""
        return sorted(self.facts)

    @property
    def seeds(self) -> list[int]:
        """Seeds of the encoders."""
        return sorted({one["seed"] for _, found in self._ours() for one in found})

    @property
    def widths(self) -> list[int]:
        """Widths of the encoders."""
        return sorted({width for (_, _, width), _ in self._ours()})

    def lines(self, table: str, name: str, width: int, probe: str = "linear") -> Floats | None:
        """Scores [seeds, 1 + resamples] of a probe; None where nothing was measured."""
        found = self.kept.get((table, name, width))
        return np.array([one["probes"][probe]["lines"] for one in found]) if found else None

    def raw(self, table: str, probe: str) -> Floats | None:
        """Scores of a probe of the raw columns."""
        return self.lines(table, "raw", self.facts[table].raw_columns, probe)

    def few(self, table: str, name: str) -> dict[str, Floats]:
        """Scores with few labels, by probe; empty where there are none."""
        facts = self.facts[table]
        width = facts.raw_columns if name == "raw" else facts.few_dim
        found = [one["few"] for one in self.kept.get((table, name, width), []) if one.get("few")]
        return (
            {probe: np.array([one[probe] for one in found]) for probe in found[0]} if found else {}
        )

    def times(self, table: str, name: str, width: int) -> dict[str, Any]:
        """Mean seconds over seeds: learning, encoding, and fit and prediction of each probe."""
        found = self.kept.get((table, name, width))
        if not found:
            return {}
        mean = {
            key: float(np.mean([one[key] for one in found]))
            for key in ("fit_seconds", "encode_seconds")
        }
        probes = {
            probe: float(np.mean([_fit_and_predict(one["probes"][probe]) for one in found]))
            for probe in TIMED
        }
        return {**mean, "probes": probes}

    def recipes(self, table: str, width: int) -> str:
        """Recipes that `auto` chose without a label, the commonest first."""
        found = Counter(one["recipe"] for one in self.kept.get((table, "unlabelled", width), []))
        return ", ".join(name for name, _ in found.most_common())

    def selections(self, table: str) -> Iterator[tuple[int, dict[str, Any], dict[str, Any]]]:
        """Seed, and how the same candidates were compared without and with the label."""
        width = self.facts[table].default_dim
        labelled = {
            one["seed"]: one["selection"] for one in self.kept.get((table, "agreement", width), [])
        }
        for one in self.kept.get((table, "unlabelled", width), []):
            if one["seed"] in labelled:
                yield one["seed"], one["selection"], labelled[one["seed"]]

    def by_table(self, table: str) -> Iterator[dict[str, Any]]:
        """Every representation and width, in order, as means over its seeds."""
        for name in ORDER:
            widths = sorted(w for t, n, w in self.kept if (t, n) == (table, name))
            for width in widths:
                yield _mean(self.kept[table, name, width])

    def summaries(self) -> Iterator[dict[str, Any]]:
        """Every result without its resamples."""
        for table in self.tables:
            yield from self.by_table(table)

    def missing(self) -> list[str]:
        """Tables that lack a result which the claims rest on."""
        found = []
        for table in self.tables:
            facts = self.facts[table]
            half = max(1, facts.default_dim // 2)
            wanted = [("raw", facts.raw_columns), ("target-aware", facts.target_dim)]
            for name in ("unlabelled", "PCA", "kernel PCA"):
                wanted += [(name, facts.default_dim), (name, half)]
            wanted.append(("unlabelled", facts.few_dim))
            lacking = [f"{n} {w}" for n, w in wanted if (table, n, w) not in self.kept]
            found += [f"{table} ({', '.join(lacking)})"] if lacking else []
        return found

    def _ours(self) -> list[tuple[tuple[str, str, int], list[dict[str, Any]]]]:
        own = ("unlabelled", "target-aware")
        return [(key, found) for key, found in self.kept.items() if key[1] in own]


def read_results(tables: list[Table], *, apart: list[str]) -> Results:
    """Everything that is kept of `tables`."""
    kept: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for table in tables:
        for path in sorted(table.work.glob("*-*-*.json")):
            one = load(path)
            kept[table.name, one["representation"], one["width"]].append(one)
    facts = {table.name: table.facts() for table in tables}
    return Results(facts, dict(kept), tuple(name for name in apart if name in facts))


def _fit_and_predict(probe: dict[str, Any]) -> float:
    return float(probe["fit_seconds"] + probe["predict_seconds"])


def _mean(found: list[dict[str, Any]]) -> dict[str, Any]:
    first = found[0]
    mean: dict[str, Any] = {key: first[key] for key in ("table", "representation", "width")}
    mean["seeds"] = [one["seed"] for one in found]
    if "recipe" in first:
        mean["recipe"] = ", ".join(dict.fromkeys(one["recipe"] for one in found))
    for key in ("fit_seconds", "encode_seconds"):
        mean[key] = round(float(np.mean([one[key] for one in found])), 4)
    mean["probes"] = {
        probe: {
            "score": round(float(np.mean([one["probes"][probe]["lines"][0] for one in found])), 5),
            **{
                key: round(float(np.mean([one["probes"][probe][key] for one in found])), 5)
                for key in ("fit_seconds", "predict_seconds")
            },
        }
        for probe in first["probes"]
    }
    return mean
