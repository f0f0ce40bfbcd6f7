"""The figures of `quality.py` as Markdown, JSON and charts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from quality_charts import draw_leads, draw_time, draw_widths
from quality_markdown import grid, seconds
from quality_probes import PROBES
from quality_results import Results, read_results
from quality_sections import (
    Section,
    against,
    choice,
    downstream_time,
    few_labels,
    target_aware,
)
from quality_tables import Table

HEAD = """\
# Are the embeddings worth it?

Every table of a folder, with nothing configured but key, label and event time. Encoders learn from
the training file; probes learn from at most 20,000 of its rows; scored are at most 10,000 rows of
the test file, which no encoder saw. Scores are ROC AUC for two classes and accuracy otherwise, in
points (hundredths). Behind every difference stands its 95 % paired bootstrap interval over test
rows and seeds: **ahead** and **behind** mean that it excludes zero, everything else is **level**.
Written by `python benchmarks/quality.py FOLDER`.

*Unlabelled* is the default: recipe `auto`, told no label. *Target-aware* is the same with
`--label label --use-label`. *Raw* is the fixed baseline: numbers median-imputed, standardised,
clipped, with missing indicators, categories one-hot; *PCA*, *kernel PCA* (Nyström with 500 landmark
rows, Gaussian kernel of the median distance) and *random* projection start from it.
"""


def write_report(tables: list[Table], out: Path, *, apart: list[str]) -> None:
    """``quality.md``, ``quality.json`` and the charts below `out`."""
    results = read_results(tables, apart=apart)
    out.mkdir(parents=True, exist_ok=True)
    lines, claims = [HEAD, held(results), ""], {}
    for title, write in SECTIONS.items():
        body, claims[title] = write(results)
        lines += [f"## {title}", "", *body, ""]
    lines += ["## Every figure", "", *_everything(results), *_method(), ""]
    draw_leads(results, out / "quality-leads.svg")
    draw_widths(results, out / "quality-widths.svg")
    draw_time(results, out / "quality-time.svg")
    (out / "quality.md").write_text("\n".join(lines))
    document: dict[str, Any] = {"claims": claims, "results": list(results.summaries())}
    (out / "quality.json").write_text(json.dumps(document, indent=1) + "\n")


def held(results: Results) -> str:
    """What the report holds and what it lacks, in words."""
    seeds, widths = (", ".join(map(str, found)) for found in (results.seeds, results.widths))
    told = f"This report holds seeds {seeds or 'none'} and widths {widths or 'none'}."
    if results.apart:
        told += f" In no mean and no count: {', '.join(results.apart)}."
    missing = results.missing()
    return told + (f" **Not measured yet:** {'; '.join(missing)}." if missing else "")


SECTIONS: dict[str, Callable[[Results], Section]] = {
    "Unlabelled, against PCA and kernel PCA": against,
    "Target-aware, against models of the raw columns": target_aware,
    "Few labels": few_labels,
    "Downstream time": downstream_time,
    "The choice without a label": choice,
}


def _everything(results: Results) -> list[str]:
    """Every score, the mean over seeds."""
    lines = ["![Scores by width](quality-widths.svg)", ""]
    times = [f"{probe} fit" for probe in PROBES]
    head = ["representation", "width", "recipe", *PROBES, *times, "learn", "encode"]
    for table in results.tables:
        facts = results.facts[table]
        told = (
            f"{facts.rows:,} training rows, {facts.train_rows:,} of them for probes, "
            f"{facts.test_rows:,} scored; {facts.raw_columns:,} raw columns; prepared width "
            f"{facts.width:,}, default width {facts.default_dim}."
        )
        rows = [_line(one) for one in results.by_table(table)]
        lines += [f"### {table}", "", told, "", *grid(head, rows), ""]
    return lines


def _line(one: dict[str, Any]) -> list[str]:
    probes = [one["probes"][probe] for probe in PROBES]
    return [
        one["representation"],
        f"{one['width']:,}",
        one.get("recipe", ""),
        *(f"{100 * probe['score']:.1f}" for probe in probes),
        *(seconds(probe["fit_seconds"]) for probe in probes),
        seconds(one["fit_seconds"]),
        seconds(one["encode_seconds"]),
    ]


def _method() -> Iterator[str]:
    yield from ("## How it was measured", "")
    for name, probe in PROBES.items():
        yield f"- *{name}*: {probe.describes}."
    yield (
        "- Seconds are CPU seconds of one process on one thread; scores and seconds are means over "
        "the seeds. *Learn* is training (all candidates of `auto`, without export), *encode* all "
        "drawn rows of both files, by the encoder before export."
    )
    yield (
        f"- scikit-learn {version('scikit-learn')}, torch {version('torch')}, onnxruntime "
        f"{version('onnxruntime')}. PCA and raw columns depend on no seed and are measured once."
    )
