from pathlib import Path
from typing import Any

import pytest

from flows.jobs import RefreshJob
from flows.project import refresh_job
from flows.promotion import candidate_job, decide, judge, promote
from pipeline.errors import ConfigError, DataError, SchemaError
from pipeline.progress import Silent
from training.contest import Contest


def contest(candidate: float, current: float) -> Contest:
    return Contest(metric="ROC AUC", rows=1_000, candidate=candidate, current=current)


@pytest.mark.parametrize(
    ("candidate", "promoted"), [(0.80, True), (0.795, True), (0.789, False), (0.9, True)]
)
def test_a_candidate_may_be_worse_by_the_margin_and_no_more(
    candidate: float, promoted: bool
) -> None:
    decision = judge(contest(candidate, 0.80), candidate="new", current="old", margin=0.01)
    assert decision.promoted is promoted
    assert decision.current == ("new" if promoted else "old")


def test_a_decision_tells_both_scores_rows_and_margin() -> None:
    reason = judge(contest(0.7, 0.8), candidate="new", current="old", margin=0.01).reason
    assert "0.7000 against 0.8000" in reason
    assert "1,000 rows that neither has seen" in reason
    assert "margin of 0.01" in reason


@pytest.fixture
def job(project: Path) -> RefreshJob:
    return refresh_job(project)


def test_the_same_work_has_the_same_folder(job: RefreshJob) -> None:
    assert candidate_job(job).out == candidate_job(job).out
    assert Path(candidate_job(job).out).parent == Path(job.models) / "versions"


def test_other_work_has_another_folder(job: RefreshJob) -> None:
    other = job.model_copy(update={"train": job.train.model_copy(update={"seed": 9})})
    assert candidate_job(other).out != candidate_job(job).out


def test_the_first_candidate_is_promoted(job: RefreshJob) -> None:
    versions = Path(job.models) / "versions" / "a"
    versions.mkdir(parents=True)
    decision = promote(job, str(versions), progress=Silent())
    assert decision.promoted
    assert (Path(job.models) / "current").resolve() == versions.resolve()


def test_a_current_that_is_damaged_is_replaced_and_the_reason_told(
    job: RefreshJob, bundle: Path
) -> None:
    decision = decide(job, str(bundle), current="nowhere", progress=Silent())
    assert decision.promoted
    assert "cannot be used any more" in decision.reason


def test_a_model_is_compared_with_itself_on_rows_it_has_not_seen(
    job: RefreshJob, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "twin").symlink_to(bundle)
    decision = decide(job, str(bundle), current=str(tmp_path / "twin"), progress=Silent())
    assert decision.promoted
    assert decision.candidate_score == decision.current_score


def test_without_a_label_models_are_compared_by_hidden_columns(
    job: RefreshJob, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "twin").symlink_to(bundle)
    unlabelled = job.model_copy(update={"train": job.train.model_copy(update={"label": ()})})
    decision = decide(unlabelled, str(bundle), current=str(tmp_path / "twin"), progress=Silent())
    assert "R² of hidden columns" in decision.reason


def test_a_current_model_that_cannot_read_the_table_is_replaced_and_the_reason_told(
    job: RefreshJob, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise SchemaError("column 'delay' (number) is missing")

    monkeypatch.setattr("flows.promotion.contest", refuses)
    decision = decide(job, str(bundle), current="old", progress=Silent())
    assert decision.promoted
    assert "column 'delay' (number) is missing" in decision.reason


def test_a_candidate_that_cannot_read_the_table_is_never_promoted(
    job: RefreshJob, bundle: Path, table: Any, folder_of: Any, tmp_path: Path
) -> None:
    changed = folder_of(tmp_path / "in", table().drop_columns(["delay"]))
    train = job.train.model_copy(update={"source": str(changed)})
    with pytest.raises(SchemaError, match="delay"):
        decide(
            job.model_copy(update={"train": train}), str(bundle), current="old", progress=Silent()
        )


def test_without_rows_that_neither_has_seen_the_current_model_stays(
    job: RefreshJob, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def has_no_rows(*_: object, **__: object) -> None:
        raise DataError("two rows that neither model has seen or more are required")

    monkeypatch.setattr("flows.promotion.contest", has_no_rows)
    decision = decide(job, str(bundle), current="old", progress=Silent())
    assert (decision.promoted, decision.current) == (False, "old")


def test_a_current_that_is_a_folder_is_not_overwritten(job: RefreshJob) -> None:
    (Path(job.models) / "current").mkdir(parents=True)
    with pytest.raises(ConfigError, match="must be a link"):
        promote(job, f"{job.models}/versions/a", progress=Silent())
