"""The page of a destination's history: one HTML file that holds everything and runs nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from flows.history import Entry, History
from flows.history_charts import drift_chart, rows_chart, seconds_chart, work_chart
from flows.history_tables import tables
from flows.wording import counted, marked_up, moment, shortened, signed, span
from pipeline.errors import ConfigError, PublishError
from training.report.page import FIGURE, PAGE, STYLE, TILE

_LONGEST = 160

_STYLE = """
.verdict.good{border-left-color:var(--good)}.verdict.bad{border-left-color:var(--bad)}
h1,.verdict p,.tiles dd,td.words,footer{overflow-wrap:anywhere}
.c-bad{fill:var(--bad)}.c-none{fill:var(--random)}.gone{opacity:.38}.reader{fill:var(--ink)}
.chip{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:6px}
.b0{background:var(--k0)}.b1{background:var(--k1)}.b2{background:var(--k2)}
.b3{background:var(--k3)}.b4{background:var(--k4)}.b5{background:var(--k5)}
.b6{background:var(--k6)}.b7{background:var(--k7)}.b8{background:var(--k8)}
.b9{background:var(--k9)}
code{font:12.5px ui-monospace,"Liberation Mono",Menlo,Consolas,monospace}
.badge{border:1px solid var(--hair);border-radius:99px;padding:1px 9px;font-size:12px;
color:var(--soft);margin-left:8px}
.badge.readers{border-color:var(--good);color:var(--good)}
.badge.pinned,.badge.waiting{border-color:var(--fair);color:var(--fair)}
.alarm{color:var(--bad);font-weight:650}.soft,tr.deleted td{color:var(--soft)}
td.words{min-width:90px;max-width:420px}.name{white-space:nowrap}
.card{background:
linear-gradient(to right,var(--card) 40%,transparent) 0 0/40px 100% no-repeat local,
linear-gradient(to left,var(--card) 40%,transparent) 100% 0/40px 100% no-repeat local,
linear-gradient(to right,var(--hair),transparent) 0 0/14px 100% no-repeat scroll,
linear-gradient(to left,var(--hair),transparent) 100% 0/14px 100% no-repeat scroll,var(--card)}
.card>h2,.card>p{position:sticky;left:0}
details{margin-top:10px}summary{cursor:pointer;color:var(--soft);font-size:13px}
.drift-picture{display:block;width:100%;max-width:980px;margin:0 auto;border-radius:8px}
.tiles{grid-template-columns:repeat(3,minmax(0,1fr))}
@media(max-width:520px){main{padding:16px 12px 32px}h1{font-size:22px}
.tiles{grid-template-columns:1fr 1fr;gap:10px}.tiles div{padding:10px 12px}
.tiles dd{font-size:20px}.tiles dd.aside{font-size:12px}
svg .tick{font-size:14px}}
"""


def write_history(path: Path, history: History) -> None:
    """Write the page of `history` to the file `path`, as a whole.

    Raises:
        ConfigError: if `path` lies inside the destination, where every file has its meaning.
        PublishError: if it cannot be written.
    """
    if "://" not in history.path and path.resolve().is_relative_to(Path(history.path).resolve()):
        raise ConfigError(f"--html must be outside of {history.path}, found {path}; name another")
    stage = path.with_name(f".{path.name}.tmp")
    try:
        stage.write_text(html(history), encoding="utf-8")
        stage.replace(path)
    except OSError as error:
        stage.unlink(missing_ok=True)
        raise PublishError(f"cannot write the page {path}: {error.strerror or error}") from None


def html(history: History) -> str:
    """The whole page as text."""
    kind, headline, sentences = _verdict(history)
    return PAGE.substitute(
        about="history",
        title=marked_up(f"parquet2vec: {history.path}"),
        style=STYLE + _STYLE,
        kind=kind,
        headline=marked_up(headline),
        sentences=marked_up(" ".join(sentences)),
        tiles="".join(_tiles(history)),
        left="".join(_left(history)),
        right="".join(_right(history)),
        tables="".join(tables(history)),
        footer=marked_up(
            f"{history.path}. Times are UTC. Versions are remembered when they are deleted, "
            "from the version after them on."
        ),
    )


def _verdict(history: History) -> tuple[str, str, list[str]]:
    """Kind, headline and sentences: what is wrong first, then what readers have."""
    entry, newest = history.shown, history.entries[-1] if history.entries else None
    if entry is None or newest is None:
        first = f"Embed into {history.path} first."
        return "", "Readers have no version", [first, *_damage(history)]
    alarms = [*_damage(history), *_drifted(newest)]
    pinned = _pin(history, entry)
    version = entry.version
    shown = (
        f"Readers see {version.rows:,} rows of version {version.run_id[:12]}, "
        f"published {moment(version.published)}"
    )
    if alarms:
        return "bad", alarms[0].rstrip("."), [*alarms[1:], *pinned, f"{shown}."]
    if pinned:
        return "", pinned[0].rstrip("."), [*pinned[1:], f"{shown}."]
    return "good", shown, _calm(history, newest)


def _damage(history: History) -> list[str]:
    if not history.damaged:
        return []
    count, names = len(history.damaged), ", ".join(history.damaged[:3])
    which = "version is" if count == 1 else "versions are"
    more = " and more" if count > 3 else ""
    return [f"{count} {which} damaged.", f"Damaged: {names}{more}; `parquet2vec gc` deletes them."]


def _drifted(newest: Entry) -> list[str]:
    if newest.drift is None or not newest.drift.drifted:
        return []
    moved = newest.moved
    more = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
    names = ", ".join(shortened(name, 60) for name in moved[:3])
    return [f"The newest version has drifted in {names}{more}."]


def _pin(history: History, entry: Entry) -> list[str]:
    if entry.state != "pinned":
        return []
    waiting = sum(one.state == "waiting" for one in history.entries)
    newer = f"; {waiting} newer {'waits' if waiting == 1 else 'wait'}" if waiting else ""
    return [
        f"Readers are pinned at version {entry.version.run_id[:12]}{newer}.",
        f"`parquet2vec rollback {shortened(history.path, _LONGEST)} --unpin` lets go.",
    ]


def _calm(history: History, newest: Entry) -> list[str]:
    here = sum(entry.state != "deleted" for entry in history.entries)
    told_of = [f"{counted(here, 'version')} kept, {len(history.entries):,} remembered."]
    if newest.excess is None:
        return [*told_of, "The newest was not compared with its model's training table."]
    return [*told_of, "Nothing has drifted in the newest."]


def _tiles(history: History) -> Iterable[str]:
    entry = history.shown
    if entry is None:
        return
    version, made = entry.version, entry.version.made
    before = _before(history, entry)
    change = "the first version"
    if before is not None:
        change = f"{signed(version.rows - before.version.rows)} since the one before"
    yield _tile("Rows for readers", f"{version.rows:,}", change)
    here = sum(one.state != "deleted" for one in history.entries)
    first = _date(history.entries[0].version.published, 10)
    yield _tile("Versions", str(here), f"kept; {len(history.entries):,} since {first}")
    if made is not None:
        speed = made.computed.rows / made.seconds if made.seconds else 0.0
        rows = f"{made.computed.rows:,} rows computed"
        pace = f", {speed:,.0f} rows/s" if made.computed.rows else ""
        yield _tile("Its run took", span(made.seconds), rows + pace)
        user, _, host = made.by.partition("@")
        # A name that is written from right to left would turn what follows it around.
        where = f" on {shortened(host, 40)}" if host else ""
        yield _tile("Published by", shortened(user, 18), f"{_date(version.published, 16)}{where}")
    changes = sum(
        one.version.model != other.version.model
        for one, other in zip(history.entries, history.entries[1:], strict=False)
    )
    times = {0: "never replaced", 1: "replaced once"}.get(changes, f"replaced {changes} times")
    yield _tile("Model", version.model[:8], times)
    yield _drift_tile(history)


def _drift_tile(history: History) -> str:
    compared = [entry for entry in history.entries if entry.excess is not None]
    if not compared:
        return _tile("Drift", "–", "not monitored: `parquet2vec monitor`")
    drifted = sum(entry.drift is not None and entry.drift.drifted for entry in compared)
    when = f"in the last {len(compared)} compared versions" if len(compared) > 1 else "compared"
    return _tile("Drift", f"{drifted} of {len(compared)}", when)


def _date(text: str, length: int) -> str:
    """The beginning of a moment, whose day no line break divides."""
    return moment(text)[:length].replace("-", "\u2011")


def _tile(name: str, value: str, aside: str) -> str:
    return TILE.substitute(name=marked_up(name), value=marked_up(value), aside=marked_up(aside))


def _left(history: History) -> Iterable[str]:
    if not history.entries:
        return
    words = "A bar for each version, coloured by its model. Pale: deleted. Triangle: for readers."
    yield _figure("How many rows were published?", words, rows_chart(history))
    work = work_chart(history)
    if work is not None:
        words = "Unchanged files are taken over from the version before, a killed run's resumed."
        yield _figure("What had to be computed?", words, work)


def _right(history: History) -> Iterable[str]:
    seconds = seconds_chart(history)
    if seconds is not None:
        words = "Wall time until the version was published."
        yield _figure("How long did it take?", words, seconds)
    drift = drift_chart(history)
    if drift is not None:
        rate = max(entry.drift.runs_per_false_alarm for entry in history.entries if entry.drift)
        words = f"Largest difference of any column; by chance 1 run in {rate:,} passes the line."
        yield _figure("Are the rows still like those of training?", words, drift)


def _figure(title: str, words: str, picture: str) -> str:
    return FIGURE.substitute(title=marked_up(title), words=marked_up(words), picture=picture)


def _before(history: History, entry: Entry) -> Entry | None:
    place = history.entries.index(entry)
    return history.entries[place - 1] if place else None
