"""From scores to a sentence: what an engineer should do, chosen by the numbers alone."""

from __future__ import annotations

from training.leakage import PREFIX
from training.results import Evaluation, HiddenColumns, LatentHealth, Lead, Score, Verdict

CLEAR_ERRORS = 2.0  # standard errors beyond which a difference is more than noise
CLEAR_POINTS = 0.2  # and points below which it does not matter
TELLING = 0.02  # R² below which columns are as good as not predicted
SLOW_RATIO = 1.2  # fit times closer than this are the same

_LINEAR = "The encoder is the recipe “linear”: its codes are principal components themselves."


def judge(evaluation: Evaluation) -> Verdict:
    """The verdict on probed scores, or on hidden columns when there is no label.

    By the linear probe: ahead of PCA beyond two standard errors, use the embedding; within them,
    PCA is enough; behind, PCA is better. When the raw columns are further ahead of the embedding
    than the embedding is of PCA, they are named first.
    """
    health = _health_sentences(evaluation.health)
    if evaluation.recipe == "linear":
        health = (_LINEAR, *health)
    if evaluation.learnt_from and evaluation.label is not None:
        health = (_aware_sentence(evaluation), *health)
    if any(note.startswith(PREFIX) for note in evaluation.notes):
        health = (*health, "There are signs of leakage: see the notes before trusting a score.")
    if evaluation.scores:
        verdict = _probed(evaluation)
    elif evaluation.hidden_columns is not None:
        verdict = _unprobed(evaluation, evaluation.hidden_columns)
    else:
        verdict = Verdict(kind="unprobed", headline="Nothing was probed.")
    return verdict.model_copy(update={"sentences": (*verdict.sentences, *health)})


def _aware_sentence(found: Evaluation) -> str:
    """What it means that the encoder saw labels; says nothing where `linear` won without them."""
    labels = ", ".join(f"“{name}”" for name in found.learnt_from)
    if found.label in found.learnt_from:
        count = found.learnt_from[found.label]
        return (
            f"The code was made for {labels}: the encoder learnt from {count:,} labelled rows, "
            "none of them a test row. It may tell less of anything else than a code made without."
        )
    return f"The code was made for {labels}, not for “{found.label}”, which the encoder never saw."


def is_clear(points: float, standard_error: float) -> bool:
    """Whether a difference is beyond noise and large enough to matter.

    >>> is_clear(0.5, 0.2), is_clear(0.5, 0.3), is_clear(-0.1, 0.01)
    (True, False, False)
    """
    return abs(points) > max(CLEAR_ERRORS * standard_error, CLEAR_POINTS)


def _probed(found: Evaluation) -> Verdict:
    pca, raw = found.lead("PCA"), found.lead("raw")
    ahead = is_clear(pca.points, pca.standard_error) and pca.points > 0
    behind = is_clear(pca.points, pca.standard_error) and pca.points < 0
    short_of_raw = is_clear(raw.points, raw.standard_error) and raw.points < 0
    best = (_best_sentence(found),)
    if short_of_raw and -raw.points > max(1.0, pca.points):
        small = "use the embedding only for" if ahead else "PCA is enough for"
        headline = f"Raw columns are better by {_gap(raw)} points; {small} {_gain(found)}."
        return Verdict(
            kind="raw_is_better", headline=headline, sentences=(_pca_sentence(pca), *best)
        )
    raw_sentence = _raw_sentence(found, raw, short_of_raw)
    if ahead:
        kind, headline = (
            "embedding",
            (f"Use the embedding: its {found.dim} numbers are ahead of PCA by {_gap(pca)} points."),
        )
    elif behind:
        kind, headline = (
            "pca_is_better",
            f"Use PCA: it is ahead of the embedding by {_gap(pca)} points.",
        )
    else:
        kind, headline = (
            "pca_is_enough",
            (
                f"PCA is enough here: the embedding differs from it by {_signed(pca)} points, "
                "which is noise or too little to matter."
            ),
        )
    return Verdict.model_validate(
        {"kind": kind, "headline": headline, "sentences": (raw_sentence, *best)}
    )


def _unprobed(found: Evaluation, hidden: HiddenColumns) -> Verdict:
    points, error = hidden.lead_points, hidden.standard_error
    what = "columns hidden from the input are predicted back"
    if not is_clear(points, error):
        kind, score = "pca_is_enough", f"R² {hidden.pca:.3f}".replace("-", "−")
        headline = f"PCA is enough here: {what} as well from it ({score})."
        if hidden.pca < TELLING:
            headline = (
                "PCA is enough here: these columns tell little of each other, so that hidden ones "
                f"are predicted back neither from it nor from the embedding ({score})."
            )
    elif points > 0:
        kind = "embedding"
        headline = (
            f"Use the embedding: {what} better from it than from PCA, "
            f"by {_points(points, error)} points of R²."
        )
    else:
        kind = "pca_is_better"
        headline = f"Use PCA: {what} better from it, by {_points(-points, error)} points of R²."
    advice = "No label was given; name one to learn what the codes are worth to a model."
    return Verdict.model_validate({"kind": kind, "headline": headline, "sentences": (advice,)})


def _pca_sentence(pca: Lead) -> str:
    if not is_clear(pca.points, pca.standard_error):
        return f"The embedding and PCA are level ({_signed(pca)} points)."
    if pca.points > 0:
        return f"The embedding is ahead of PCA by {_gap(pca)} points."
    return f"PCA of the same width is ahead of the embedding by {_gap(pca)} points."


def _raw_sentence(found: Evaluation, raw: Lead, short_of_raw: bool) -> str:
    columns, speed = _raw_name(found), _speed(found)
    if short_of_raw:
        more = f"{columns[0].upper()}{columns[1:]} hold {_gap(raw)} points more"
        return f"{more}; on the embedding a linear model fits {speed}."
    if is_clear(raw.points, raw.standard_error):
        lead = f"The embedding is ahead of {columns} by {_gap(raw)} points"
        return f"{lead}; a linear model fits {speed}."
    noise = f"{_signed(raw)} points, within noise"
    return f"From {columns} it differs by {noise}; on the embedding a linear model fits {speed}."


def _gain(found: Evaluation) -> str:
    saved = f"size ({_raw_width(found):,} columns become {found.dim})"
    if _ratio(found) <= SLOW_RATIO:
        return saved
    return f"{saved} and speed: a linear model fits {_speed(found)}"


def _speed(found: Evaluation) -> str:
    raw, embedding = found.score("raw").fit_seconds, found.score("embedding").fit_seconds
    ratio = _ratio(found)
    if ratio <= SLOW_RATIO:
        return "no faster"
    times = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"
    return f"{times} times faster, in {seconds(embedding)} instead of {seconds(raw)}"


def _ratio(found: Evaluation) -> float:
    return found.score("raw").fit_seconds / max(found.score("embedding").fit_seconds, 1e-6)


def _best_sentence(found: Evaluation) -> str:
    best = max(found.scores, key=_by_score)
    name = {"embedding": "the embedding", "raw": "the raw columns"}.get(
        best.representation, best.representation
    )
    return f"Best of all probes: {best.probe} on {name}, {found.metric} {best.score:.3f}."


def _by_score(score: Score) -> float:
    return score.score


def _health_sentences(health: LatentHealth) -> tuple[str, ...]:
    said = []
    if health.active_units < health.dim:
        dead = health.dim - health.active_units
        carry = "carries" if dead == 1 else "carry"
        said.append(f"{dead} of the {health.dim} units {carry} nothing: try a smaller --dim.")
    if health.merged_rows:
        said.append(f"{health.merged_rows:,} different test rows share a vector with another.")
    return tuple(said)


def _raw_width(found: Evaluation) -> int:
    return next(e.columns for e in found.encodings if e.representation == "raw")


def _raw_name(found: Evaluation) -> str:
    width = _raw_width(found)
    if width == found.table_columns == 1:
        return "the only raw column"
    if width == found.table_columns:
        return f"the {width:,} raw columns"
    return f"the raw columns ({width:,} numbers wide, one-hot)"


def _gap(lead: Lead) -> str:
    return _points(abs(lead.points), lead.standard_error)


def _signed(lead: Lead) -> str:
    sign = "−" if lead.points < 0 else "+"
    return f"{sign}{_gap(lead)}"


def _points(points: float, error: float) -> str:
    digits = digits_for(error)
    return f"{points:.{digits}f} ± {error:.{digits}f}"


def digits_for(error: float) -> int:
    """Decimals of points worth showing beside a standard error.

    >>> digits_for(0.4), digits_for(0.04)
    (1, 2)
    """
    return 1 if error >= 0.1 else 2


def seconds(value: float) -> str:
    """A time in words as short as its size allows.

    >>> seconds(0.0042), seconds(0.42), seconds(12.3)
    ('4 ms', '0.42 s', '12 s')
    """
    if value < 0.1:
        return f"{value * 1000:.0f} ms" if value >= 0.001 else "<1 ms"
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
