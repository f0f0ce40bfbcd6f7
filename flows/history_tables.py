"""The tables on the page of a destination's history."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import TypeAlias

from flows.history import Entry, History
from flows.history_charts import COLOURS
from flows.wording import marked_up, moment, shortened, signed, size_of, span
from pipeline.drift_picture import told, worst
from pipeline.publishing import PUBLISHED, ROLLBACK, UNPINNED
from training.report.page import SECTION

# Versions that the table shows at once; the others unfold.
UNFOLDED = 60
FINDINGS = 40
_COLUMNS_OF_A_RUN = 4
_LONGEST = 160

_STATES = {
    "readers": "readers see it",
    "pinned": "pinned",
    "waiting": "waits",
    "kept": "",
    "deleted": "",
}

_MOVED = {ROLLBACK: "rolled back, pinned", UNPINNED: "let go"}

_NEW = '<span class="badge">new</span>'

Row: TypeAlias = tuple[str, Sequence[str]]


def tables(history: History) -> Iterable[str]:
    """The sections below the pictures."""
    if not history.entries:
        return
    yield SECTION.substitute(
        title="Versions", words="Newest first; pale ones are deleted.", body=_versions(history)
    )
    moves = list(_moves(history))
    if moves:
        words = "Newest first, publications left out; also what was undone."
        body = _table_of(("when", "what", "from", "to", "by"), moves[:UNFOLDED], words=(1, 2, 3, 4))
        yield SECTION.substitute(title="Who moved readers", words=words, body=body)
    findings = list(_findings(history))
    if findings:
        head = ("version", "column", "what was found", "against")
        words = "The columns of each version that lie farthest out, newest version first."
        body = _table(head, findings, words=(1, 2, 3))
        yield SECTION.substitute(title="Drift", words=words, body=body)
    if history.picture is not None:
        source = f"data:image/svg+xml;base64,{b64encode(history.picture).decode()}"
        alt = "Drift of the newest version that was compared"
        body = f'<img class="drift-picture" alt="{alt}" src="{source}">'
        yield SECTION.substitute(title="What has moved", words="", body=body)
    yield SECTION.substitute(title="Models", words="", body=_models(history))
    people = _people(history)
    if people:
        yield SECTION.substitute(title="Who published", words="", body=people)
    yield SECTION.substitute(title="Sources", words="", body=_sources(history))


def _versions(history: History) -> str:
    models = history.models
    befores = [None, *history.entries[:-1]]
    rows = [
        _version_row(entry, before, models)
        for entry, before in zip(history.entries, befores, strict=True)
    ][::-1]
    head = (
        *("version", "published", "rows", "change", "parts", "size", "model"),
        *("computed", "took", "drift", "by"),
    )
    shown = _table_of(head, rows[:UNFOLDED], words=(9, 10))
    folded = rows[UNFOLDED:]
    if not folded:
        return shown
    older = _table_of(head, folded, words=(9, 10))
    return f"{shown}<details><summary>{len(folded)} older versions</summary>{older}</details>"


def _version_row(entry: Entry, before: Entry | None, models: Sequence[str]) -> Row:
    version, made = entry.version, entry.version.made
    badge = _STATES[entry.state]
    marked = f'<span class="badge {entry.state}">{badge}</span>' if badge else ""
    change = "" if before is None else signed(version.rows - before.version.rows)
    replaced = before is not None and before.version.model != version.model
    cells = (
        _short_code(version.run_id, 12) + marked,
        marked_up(moment(version.published)),
        f"{version.rows:,}",
        change,
        f"{version.parts:,}",
        size_of(version.bytes),
        _model(version.model, models) + (_NEW if replaced else ""),
        "" if made is None else f"{made.computed.parts:,} of {version.parts:,}",
        "" if made is None else span(made.seconds),
        _drift_cell(entry),
        _person(made.by) if made is not None else "",
    )
    return entry.state, cells


def _moves(history: History) -> Iterable[Row]:
    """What moved readers beside publications, newest first."""
    befores = [*history.moves, None][1:]
    for move, before in zip(history.moves, befores, strict=True):
        if move.why != PUBLISHED:
            cells = (
                marked_up(moment(move.at.astimezone(UTC).isoformat())),
                marked_up(_MOVED.get(move.why or "", "not recorded")),
                _short_code(before.version, 12) if before is not None else "",
                _short_code(move.version, 12),
                _person(move.by) if move.by is not None else "not recorded",
            )
            yield "", cells


def _model(fingerprint: str, models: Sequence[str]) -> str:
    colour = models.index(fingerprint) % COLOURS
    return f'<span class="chip b{colour}"></span>{_short_code(fingerprint, 8)}'


def _short_code(name: str, length: int) -> str:
    return f'<code title="{marked_up(name)}">{marked_up(name[:length])}</code>'


def _person(by: str) -> str:
    """``user@host`` on one line."""
    return f'<span class="name" title="{marked_up(by)}">{marked_up(shortened(by, 24))}</span>'


def _drift_cell(entry: Entry) -> str:
    if entry.drift is None:
        return '<span class="soft">not monitored</span>'
    if entry.excess is None:
        return '<span class="soft">nothing to compare</span>'
    if not entry.drift.drifted:
        return "none"
    moved = entry.moved
    more = f" and {len(moved) - 2} more" if len(moved) > 2 else ""
    names = ", ".join(shortened(name, 40) for name in moved[:2])
    return f'<span class="alarm">{marked_up(names + more)}</span>'


def _findings(history: History) -> Iterable[Sequence[str]]:
    left = FINDINGS
    for entry in history.entries[::-1]:
        columns = entry.drift.columns if entry.drift is not None else ()
        for column in [one for one in columns if one.drifted][: min(left, _COLUMNS_OF_A_RUN)]:
            finding = worst(column)
            left -= 1
            yield (
                entry.version.run_id[:12],
                shortened(column.name, _LONGEST),
                told(finding),
                finding.against,
            )


def _models(history: History) -> str:
    rows = []
    for model in history.models[::-1]:
        own = [entry.version for entry in history.entries if entry.version.model == model]
        rows.append(
            (
                "kept",
                (
                    _model(model, history.models),
                    marked_up(moment(own[0].published)),
                    marked_up(moment(own[-1].published)),
                    f"{len(own):,}",
                    f"<code>{marked_up(model)}</code>",
                ),
            )
        )
    return _table_of(("model", "first", "last", "versions", "fingerprint"), rows, words=(4,))


def _people(history: History) -> str:
    by: dict[str, list[Entry]] = {}
    for entry in history.entries:
        if entry.version.made is not None:
            by.setdefault(entry.version.made.by, []).append(entry)
    rows = []
    for name in sorted(by, key=lambda name: -len(by[name])):
        made = [entry.version.made for entry in by[name] if entry.version.made is not None]
        rows.append(
            (
                shortened(name, _LONGEST),
                f"{len(made):,}",
                f"{sum(one.computed.rows for one in made):,}",
                span(sum(one.seconds for one in made)),
                f"{sum(one.flow_run is not None for one in made):,}",
                moment(by[name][-1].version.published),
            )
        )
    head = ("user@host", "versions", "rows computed", "time", "of them by flows", "last")
    return _table(head, rows, words=(0,)) if rows else ""


def _sources(history: History) -> str:
    rows = []
    sources = dict.fromkeys(entry.version.source for entry in history.entries[::-1])
    for source in sources:
        own = [entry.version for entry in history.entries if entry.version.source == source]
        first, last = (moment(version.published) for version in (own[0], own[-1]))
        rows.append((source, f"{len(own):,}", first, last))
    return _table(("source", "versions", "first", "last"), rows, words=(0,))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, words: Sequence[int]) -> str:
    """A table of plain text, which is escaped here."""
    return _table_of(head, [("", [*map(marked_up, row)]) for row in rows], words=words)


def _table_of(head: Sequence[str], rows: Sequence[Row], *, words: Sequence[int]) -> str:
    """A table of cells that are markup already; those in the columns `words` may wrap."""
    top = _cells("th", head, words)
    body = "".join(
        f'<tr class="{style}">{_cells("td", cells, words)}</tr>' for style, cells in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _cells(tag: str, cells: Sequence[str], words: Sequence[int]) -> str:
    return "".join(
        f'<{tag} class="words">{cell}</{tag}>' if place in words else f"<{tag}>{cell}</{tag}>"
        for place, cell in enumerate(cells)
    )
