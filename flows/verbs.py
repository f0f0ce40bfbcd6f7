"""The verbs of the command line as plain functions: call the product, answer with a result.

Flows and commands share them; torch is imported by those that need it. `embed` and `verify` need
no function here: `pipeline` has them.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from flows.jobs import ComparedGenerationJob, EvaluationJob
from flows.results import (
    Comparison,
    EvaluationResult,
    GenerationResult,
    Probe,
    TrainingResult,
)
from pipeline.bundle import REPORT, Bundle, replaceable
from pipeline.config import GenerationJob
from pipeline.errors import ConfigError, DataError
from pipeline.generation import generate as draw
from pipeline.progress import Progress
from pipeline.schema import FeatureSchema
from pipeline.source import open_source
from training.spec import TrainingJob

if TYPE_CHECKING:
    from training.results import Evaluation

_TEXTS = ("string", "large_string", "string_view")


def train(job: TrainingJob, *, progress: Progress) -> TrainingResult:
    """Fit, export through the gate, evaluate, write the report."""
    started = time.monotonic()
    seal(job, progress=progress)
    return conclude(job, progress=progress, started=started)


def seal(job: TrainingJob, *, progress: Progress) -> None:
    """Write the bundle `job.out`; a killed run of the same job is continued, not repeated.

    Raises:
        ConfigError: if something that is no bundle is there already.
        ParityError: if the gate refuses the exported model; nothing is written.
    """
    if not replaceable(Path(job.out)):
        raise ConfigError(f"{job.out} must be new or a bundle, found other files; choose another")
    from export import export
    from training.fit import fit

    export(fit(job, progress=progress), job.out)


def conclude(job: TrainingJob, *, progress: Progress, started: float) -> TrainingResult:
    """Evaluate a sealed bundle and write its report; `started` is a `time.monotonic()`.

    The work folder goes last: while it is there, a killed run is known to be unfinished.
    """
    from training.fit import work_folder

    label = job.label[0] if job.label else None
    # A label that cannot be probed (one value, or a key) must not cost the trained model.
    evaluation, report = assess(
        job.out, job.source, label=label, needs_label=False, progress=progress
    )
    shutil.rmtree(work_folder(job.out), ignore_errors=True)
    return training_result(job.out, evaluation, report, seconds=time.monotonic() - started)


def finished(job: TrainingJob) -> TrainingResult | None:
    """What `train` answered when it finished `job.out`; None if it has not."""
    from training.fit import work_folder
    from training.report import NUMBERS_FILE, PAGE_FILE
    from training.results import Evaluation

    report = Path(job.out) / REPORT
    if work_folder(job.out).exists() or not (report / NUMBERS_FILE).exists():
        return None
    evaluation = Evaluation.model_validate_json((report / NUMBERS_FILE).read_bytes())
    return training_result(job.out, evaluation, report / PAGE_FILE, seconds=0.0)


def assess(
    bundle: str,
    source: str,
    *,
    label: str | None,
    test: str | None = None,
    needs_label: bool = True,
    progress: Progress,
) -> tuple[Evaluation, Path]:
    """The evaluation of a bundle, and its report, written into the bundle's `report` folder.

    Without `needs_label`, a label that cannot be probed is noted in the report and no error.
    """
    from training.evaluation import evaluate
    from training.report import write_report

    evaluation = evaluate(
        bundle, source, label, test=test, needs_label=needs_label, progress=progress
    )
    return evaluation, write_report(bundle, evaluation)


def evaluate(job: EvaluationJob, *, progress: Progress) -> EvaluationResult:
    """Probe a bundle and write its report again."""
    evaluation, report = assess(
        job.bundle, job.source, label=job.label, test=job.test, progress=progress
    )
    return EvaluationResult(
        bundle=job.bundle,
        probe=probe(evaluation),
        verdict=evaluation.verdict.text,
        report=str(report),
        seconds=evaluation.seconds,
    )


def generate(job: ComparedGenerationJob, *, progress: Progress) -> GenerationResult:
    """Draw rows and, if asked, compare them with real ones and write the page."""
    if job.compare is not None:
        # What cannot be compared is told before rows are drawn, which may take minutes.
        import training.fidelity  # noqa: F401

        open_source(job.compare)
    drawn = draw(GenerationJob(**job.model_dump(exclude={"compare", "html"})), progress=progress)
    if job.compare is None:
        return GenerationResult(generation=drawn)
    try:
        found = compare(job, progress=progress)
    except DataError as error:
        raise DataError(f"{drawn.out} is written, and was not compared: {error}") from error
    return GenerationResult(generation=drawn, comparison=found)


def compare(job: ComparedGenerationJob, *, progress: Progress) -> Comparison:
    """How alike the drawn rows `job.out` are to `job.compare`; the page is written."""
    from training.fidelity import likeness
    from training.report.generated import GENERATED_FILE, summary, write_generated

    found = likeness(
        job.bundle, job.out, str(job.compare), where=job.where, seed=job.seed, progress=progress
    )
    page = write_generated(job.html or Path(job.bundle) / REPORT / GENERATED_FILE, found)
    worst = max(found.columns, key=lambda column: column.distance)
    auc: dict[str, dict[str, float]] = {}
    for test in found.tests:
        auc.setdefault(test.sample, {})[test.classifier] = test.auc
    return Comparison(
        verdict=summary(found),
        auc=auc,
        largest_distance=worst.distance,
        column=worst.name,
        correlation_gap=found.correlation_gap,
        report=str(page),
    )


def training_result(
    bundle: str, evaluation: Evaluation, report: Path | str, *, seconds: float
) -> TrainingResult:
    """What `train` answers about a sealed and evaluated bundle."""
    return TrainingResult(
        bundle=bundle,
        fingerprint=evaluation.bundle,
        recipe=evaluation.recipe,
        dim=evaluation.dim,
        rows=evaluation.rows.train_available,
        probe=probe(evaluation),
        verdict=evaluation.verdict.text,
        report=str(report),
        seconds=seconds,
        left_out=unread(Bundle.open(bundle).manifest.feature_schema),
        notes=evaluation.notes,
    )


def unread(schema: FeatureSchema) -> tuple[str, ...]:
    """The columns of a contract that no kind reads, each with its type."""
    return tuple(
        f"{column.name} ({'dates as text' if column.type in _TEXTS else column.type})"
        for column in schema.with_role("ignore")
        if column.kind is None
    )


def probe(evaluation: Evaluation) -> Probe | None:
    """The linear probe's figures; None when there was no label to probe with."""
    found = [score for score in evaluation.scores if score.probe == "linear"]
    if not found or evaluation.metric is None:
        return None
    return Probe(
        metric=evaluation.metric,
        rows=evaluation.rows.test,
        scores={score.representation: score.score for score in found},
        fit_seconds={score.representation: score.fit_seconds for score in found},
    )
