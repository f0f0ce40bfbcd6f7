"""The report of an evaluation: one HTML page that holds everything, a model card, and the JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from pipeline.bundle import REPORT, Bundle, Manifest
from pipeline.errors import PublishError
from training.probes import PROBES
from training.report.card import with_measurements
from training.report.column_bars import MOST_COLUMNS, hidden_bars, reconstruction_bars
from training.report.curves import candidates, loss_curves
from training.report.facts import facts, tiles
from training.report.page import FIGURE, PAGE, SECTION, STYLE, TILE
from training.report.pictures import NAMES, fit_time_bars, probe_bars
from training.report.scatter import scatter
from training.results import Evaluation
from training.verdict import seconds

PAGE_FILE, CARD_FILE, NUMBERS_FILE = "report.html", "model_card.md", "evaluation.json"
HISTORY_FILE = "history.json"


def write_report(bundle_path: str | Path, evaluation: Evaluation) -> Path:
    """Write page, model card and numbers to the bundle's ``report/``, and give the page's path.

    Loss curves are drawn from ``report/history.json`` when the bundle has it.

    Raises:
        BundleError: if the bundle cannot be opened.
        PublishError: if the folder cannot be written.
    """
    bundle = Bundle.open(bundle_path)
    folder = bundle.path / REPORT
    try:
        folder.mkdir(exist_ok=True)
        history = _read_history(folder / HISTORY_FILE)
        page = html(bundle.manifest, evaluation, history=history)
        card = with_measurements(_read(folder / CARD_FILE), evaluation)
        _write(folder / NUMBERS_FILE, evaluation.model_dump_json(indent=1))
        _write(folder / CARD_FILE, card)
        _write(folder / PAGE_FILE, page)
    except OSError as error:
        raise PublishError(f"cannot write the report {folder}: {error.strerror}") from None
    return folder / PAGE_FILE


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _read_history(path: Path) -> dict[str, Any]:
    """What training told of itself; an empty dict when there is nothing readable."""
    try:
        found = json.loads(_read(path) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, words: str) -> None:
    stage = path.with_name(f".{path.name}")
    stage.write_text(words, encoding="utf-8")
    stage.replace(path)


def html(manifest: Manifest, found: Evaluation, *, history: dict[str, Any]) -> str:
    """The whole page as text; it loads nothing and runs nothing."""
    return PAGE.substitute(
        about="evaluation",
        title=escape(f"parquet2vec: {found.label or 'no label'}, {found.recipe}, {found.dim}"),
        style=STYLE,
        kind=found.verdict.kind,
        headline=escape(found.verdict.headline),
        sentences=escape(" ".join(found.verdict.sentences)),
        tiles="".join(_tile(*tile) for tile in tiles(found)),
        left="".join(_left(found)),
        right="".join(_right(found, history)),
        tables="".join(_tables(manifest, found, history)),
        footer=escape(_footer(manifest, found)),
    )


def _tile(name: str, value: str, aside: str) -> str:
    return TILE.substitute(name=escape(name), value=escape(value), aside=escape(aside))


def _figure(title: str, words: str, picture: str) -> str:
    return FIGURE.substitute(title=escape(title), words=escape(words), picture=picture)


def _left(found: Evaluation) -> Iterable[str]:
    if found.scores:
        yield _figure(
            f"How well does it predict “{found.label}”?",
            f"{found.rows.test:,} rows never seen; whiskers are two standard errors.",
            probe_bars(found),
        )
    if found.hidden_columns is not None:
        yield _figure(
            "How well does it predict columns it was not shown?",
            "Each column blanked in the input and predicted from the code, on rows never seen.",
            hidden_bars(found.hidden_columns),
        )
    coloured = f"coloured by “{found.label}”" if found.label else "no label to colour them by"
    words = f"{len(found.map.x):,} rows never seen, {coloured}; strays stand on the edge."
    yield _figure("Where do rows lie?", words, scatter(found))


def _right(found: Evaluation, history: dict[str, Any]) -> Iterable[str]:
    if found.scores:
        yield _figure(
            "How fast do models learn from it?",
            "Wall seconds of one fit on one thread of this machine.",
            fit_time_bars(found),
        )
    curves = loss_curves(history.get("history"))
    if curves:
        words = "Thick: validation rows, best step dotted. Thin: training rows, with noise added."
        yield _figure("Did training settle?", words, curves)
    if found.reconstruction:
        count = len(found.reconstruction)
        some = f"; {MOST_COLUMNS} of {count}, from best to worst" if count > MOST_COLUMNS else ""
        words = f"Columns given back by decoder.onnx from the code alone, on rows never seen{some}."
        title = "What does the code keep of each column?"
        yield _figure(title, words, reconstruction_bars(found))


def _tables(manifest: Manifest, found: Evaluation, history: dict[str, Any]) -> Iterable[str]:
    if found.scores:
        words = "; ".join(f"{name}: {probe.describes}" for name, probe in PROBES.items())
        yield _section("All numbers", f"{words[0].upper()}{words[1:]}.", _score_table(found))
    criterion, first, rows = candidates(history.get("selection"))
    if rows:
        head = ("candidate", "score", f"lead over {first}", "")
        words = f"Recipe “auto” trains several and keeps the best on validation rows: {criterion}."
        yield _section("Which recipe won?", words, _table(head, rows))
    measured = _table(("", ""), [*facts(manifest, found)], words=(1,))
    yield _section("What was measured", "", measured)


def _section(title: str, words: str, body: str) -> str:
    return SECTION.substitute(title=escape(title), words=escape(words), body=body)


def _score_table(found: Evaluation) -> str:
    head = ["representation", "columns", "computed in"]
    for probe in PROBES:
        head += [f"{probe}: {found.metric}", "fit", "predict"]
    rows = []
    for encoding in found.encodings:
        name = encoding.representation
        row = [NAMES[name], f"{encoding.columns:,}", seconds(encoding.seconds)]
        for probe in PROBES:
            score = found.score(name, probe)
            row += [
                f"{score.score:.4f} ± {score.standard_error:.4f}",
                seconds(score.fit_seconds),
                seconds(score.predict_seconds),
            ]
        rows.append(row)
    return _table(head, rows, own=0)


def _table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    own: int | None = None,
    words: Sequence[int] = (),
) -> str:
    def cells(tag: str, values: Sequence[str]) -> str:
        return "".join(
            f'<{tag} class="words">{escape(v)}</{tag}>'
            if i in words
            else f"<{tag}>{escape(v)}</{tag}>"
            for i, v in enumerate(values)
        )

    body = "".join(
        f"<tr{' class=own' if i == own else ''}>{cells('td', row)}</tr>"
        for i, row in enumerate(rows)
    )
    top = f"<thead><tr>{cells('th', head)}</tr></thead>" if any(head) else ""
    return f"<table>{top}<tbody>{body}</tbody></table>"


def _footer(manifest: Manifest, found: Evaluation) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    return f"Seed {found.seed}; evaluated in {seconds(found.seconds)}. Made with {versions}."
