"""What `quality.py` shows, a section for each claim: its sentences, its table, its figures."""

from __future__ import annotations

from typing import Any

from quality_claims import (
    TIMED,
    WIDE,
    Agreement,
    Lead,
    agreement,
    best_rival,
    break_even,
    geometric_mean,
    lead,
    mean_lead,
    spearman,
    tally,
)
from quality_few import DRAWS, FEW_PROBES, FOLDS, FREE, LEAST, OURS, SHARE
from quality_markdown import fits, grid, percent, seconds
from quality_results import Results
from quality_tables import OVERCOMPLETE

from training.shortlist import NARROW

Section = tuple[list[str], dict[str, Any]]
NOTHING = ["Not measured."]


def against(results: Results) -> Section:
    """Claim 1: unlabelled against PCA and kernel PCA, at the default width and half of it."""
    lines, found = ["![Leads over PCA and kernel PCA](quality-leads.svg)", ""], {}
    for rival in ("PCA", "kernel PCA"):
        for which, part in (("the default width", 1), ("half the default width", 2)):
            text, figures = _against_one(results, rival, part)
            if figures:
                lines += [f"### Against {rival} at {which}", "", *text, ""]
                found[f"{rival} at {which}"] = figures
    return lines, found


def _against_one(results: Results, rival: str, part: int) -> Section:
    rows, pairs, leads = [], [], {}
    for table in results.tables:
        width = max(1, results.facts[table].default_dim // part)
        own = results.lines(table, "unlabelled", width)
        other = results.lines(table, rival, width)
        if own is None or other is None:
            continue
        ahead, name = lead(own, other), table
        if table in results.apart:
            name += " (apart)"
        else:
            pairs.append((own, other))
            leads[table] = ahead
        recipes = results.recipes(table, width)
        rows.append([name, str(width), recipes, percent(own), percent(other), str(ahead)])
    if not pairs:
        return NOTHING, {}
    count, mean = tally(leads.values()), mean_lead(pairs)
    told = (
        f"Linear probe: **{mean.points:+.2f} points** on average [{mean.low:+.2f}, "
        f"{mean.high:+.2f}]; {_counted(count, len(leads))}."
    )
    lines = [told, "", *grid(["table", "width", "recipe", "unlabelled", rival, "lead"], rows)]
    return lines, {"mean": mean._asdict(), **count, "tables": _plain(leads)}


def target_aware(results: Results) -> Section:
    """Claim 2: an encoder that learnt from the label, against models of the raw columns."""
    rows: list[list[str]] = []
    leads: dict[str, dict[str, Lead]] = {"linear": {}, "trees": {}}
    for table in results.tables:
        width = results.facts[table].target_dim
        own = results.lines(table, "target-aware", width)
        raw = {probe: results.raw(table, probe) for probe in leads}
        if own is None or raw["linear"] is None:
            continue
        cells = []
        for probe, lines in raw.items():
            assert lines is not None
            ahead = lead(own, lines)
            cells += [percent(lines), str(ahead)]
            if table not in results.apart:
                leads[probe][table] = ahead
        name = f"{table} (apart)" if table in results.apart else table
        rows.append([name, str(width), percent(own), *cells])
    if not rows:
        return NOTHING, {}
    linear, trees = (tally(leads[probe].values()) for probe in ("linear", "trees"))
    near = [name for name, ahead in leads["trees"].items() if ahead.points >= -1]
    count = len(leads["linear"])
    told = (
        f"A linear probe on the embedding, against logistic regression on the raw columns: "
        f"{_counted(linear, count)}. Against histogram gradient boosting on the raw columns: "
        f"{_counted(trees, count)}; ahead or within 1 point on **{len(near)}**."
    )
    head = ["table", "width", "target-aware", "raw, linear", "lead", "raw, trees", "lead"]
    found = {
        "linear": {**linear, "tables": _plain(leads["linear"])},
        "trees": {**trees, "tables": _plain(leads["trees"])},
        "within 1 point of trees": near,
    }
    return [told, "", *grid(head, rows)], found


def few_labels(results: Results) -> Section:
    """Claim 3: probes that see one label in a hundred."""
    rows, without = [], []
    leads: dict[str, Lead] = {}
    for table in results.tables:
        own, raw = results.few(table, "unlabelled"), results.few(table, "raw")
        if not own or not raw:
            without.append(table)
            continue
        name, ahead = best_rival(own[OURS], raw)
        if table not in results.apart:
            leads[table] = ahead
        labels = SHARE * results.facts[table].rows
        cells = [percent(one[probe]) for one in (own, raw) for probe in FEW_PROBES]
        width = results.facts[table].few_dim
        rows.append([table, f"{labels:,.0f}", str(width), *cells, name, str(ahead)])
    if not rows:
        return NOTHING, {}
    count = tally(leads.values())
    told = (
        f"One label in a hundred, {DRAWS} draws; the encoder learnt from all rows, without labels. "
        "Logistic regression on the embedding of the default recipe, as wide as the target-aware "
        f"one ({OVERCOMPLETE} numbers where the prepared table has under {NARROW}), its penalty "
        f"*shared* by the numbers (C = 1 up to {FREE} of them, {FREE} / numbers beyond), against "
        "the raw model that is hardest to beat, whichever leaves the least certain lead: logistic "
        f"regression (C = 1, *shared*, or *tuned*: C by {FOLDS} folds of the few labels), nearest "
        f"neighbours or boosting: {_counted(count, len(leads))}."
    )
    if without:
        told += f" Under {LEAST} such labels in a class, or not measured: {', '.join(without)}."
    head = [
        "table",
        "labels",
        "width",
        *(f"embedding, {p}" for p in FEW_PROBES),
        *(f"raw, {p}" for p in FEW_PROBES),
    ]
    lines = [told, "", *grid([*head, "hardest raw model", "lead"], rows)]
    return lines, {**count, "tables": _plain(leads), "left out": without}


def downstream_time(results: Results) -> Section:
    """Claim 4: what a downstream model costs on the embedding and on the raw columns."""
    rows: list[list[str]] = []
    wide: dict[str, list[float]] = {probe: [] for probe in TIMED}
    for table in results.tables:
        facts = results.facts[table]
        own = results.times(table, "unlabelled", facts.default_dim)
        raw = results.times(table, "raw", facts.raw_columns)
        if not own or not raw:
            continue
        is_wide = facts.raw_columns >= WIDE
        if is_wide:
            for probe in TIMED:
                wide[probe].append(raw["probes"][probe] / own["probes"][probe])
        name = f"**{table}**" if is_wide else table
        cells = [_times(own, raw, probe) for probe in TIMED]
        learnt = [seconds(own["encode_seconds"]), seconds(own["fit_seconds"])]
        columns = [f"{facts.raw_columns:,}", str(facts.default_dim)]
        rows.append([name, *columns, *cells, seconds(raw["encode_seconds"]), *learnt])
    if not rows:
        return NOTHING, {}
    means = {probe: geometric_mean(ratios) for probe, ratios in wide.items()}
    every = geometric_mean(ratio for ratios in wide.values() for ratio in ratios)
    told = (
        "CPU seconds to fit a model and predict the test rows: raw columns → default embedding. In "
        "brackets: how often it is faster, then the number of fits after which encoding the rows "
        "is earned back (beyond preparing the raw columns), then after which training the encoder "
        f"is. Tables in bold are wide: {WIDE} raw columns or more."
    )
    if every is not None:
        told = (
            f"On the {len(wide['linear'])} wide tables models fit and predict **{every:.1f} × "
            "faster** (geometric mean: "
            + ", ".join(f"{probe} {mean:.1f} ×" for probe, mean in means.items())
            + f"). {told}"
        )
    head = ["table", "raw columns", "width", *TIMED, "prepare raw", "encode", "train"]
    picture = "![How many times faster](quality-time.svg)"
    return [picture, "", told, "", *grid(head, rows)], {"by probe": means, "all": every}


def _times(own: dict[str, Any], raw: dict[str, Any], probe: str) -> str:
    slow, fast = raw["probes"][probe], own["probes"][probe]
    encoding = own["encode_seconds"] - raw["encode_seconds"]
    back = break_even(spent=encoding, saved=slow - fast)
    learnt = break_even(spent=encoding + own["fit_seconds"], saved=slow - fast)
    return f"{seconds(slow)} → {seconds(fast)} ({slow / fast:.1f} ×; {fits(back)}; {fits(learnt)})"


def choice(results: Results) -> Section:
    """Claim 5: the choice without a label against the choice with it."""
    rows: list[list[str]] = []
    found: list[Agreement] = []
    leads: tuple[list[float], list[float]] = ([], [])
    for table in results.tables:
        for seed, own, labelled in results.selections(table):
            one = agreement(own, labelled)
            if one is None:
                continue
            found.append(one)
            first = one.names[0]
            for into, record in zip(leads, (own, labelled), strict=True):
                into += [record["scores"][n] - record["scores"][first] for n in one.names[1:]]
            rho = "–" if one.correlation is None else f"{one.correlation:+.2f}"
            rows.append([table, str(seed), rho, one.chosen, one.best, f"{one.lost:.2f}"])
    if not found:
        return NOTHING, {}
    known = [one.correlation for one in found if one.correlation is not None]
    mean, pooled = sum(known) / max(1, len(known)), spearman(*leads)
    hits, lost = sum(one.chosen == one.best for one in found), sum(one.lost for one in found)
    told = (
        "The candidates of `auto` are compared without the label and, in a run of the same "
        "candidates, by a linear probe of the label on the same validation rows. Spearman's rank "
        f"correlation of the two is **{mean:+.2f}** on average over tables and seeds"
        + ("" if pooled is None else f", and {pooled:+.2f} over all leads on the first candidate")
        + f". The choice without a label is the label's best in {hits} of {len(found)} cases, and "
        f"costs {lost / len(found):.2f} points of the probe on average."
    )
    head = ["table", "seed", "rank correlation", "chosen without", "best by label", "points lost"]
    figures = {"mean": mean, "pooled": pooled, "hits": hits, "of": len(found)}
    return [told, "", *grid(head, rows)], {**figures, "points lost": lost / len(found)}


def _counted(count: dict[str, int], of: int) -> str:
    """A tally in words."""
    return (
        f"**ahead on {count['ahead']}**, level on {count['level']}, behind on {count['behind']} "
        f"of {of} tables"
    )


def _plain(leads: dict[str, Lead]) -> dict[str, Any]:
    return {name: {**one._asdict(), "verdict": one.verdict} for name, one in leads.items()}
