import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.gate import check_drift, check_intact, check_latents, decide, judge
from flows.jobs import PromotionJob, RefreshJob
from flows.project import refresh_job
from flows.promotion import candidate_version, promote
from flows.registration import add, roll_back, unpin
from flows.results import Check, Promotion
from pipeline import embed
from pipeline.bundle import Bundle
from pipeline.config import EmbeddingJob
from pipeline.errors import BundleError, ConfigError, DataError, DestinationError, SchemaError
from pipeline.progress import Silent
from pipeline.publishing import Pointer
from pipeline.registries import open_registry
from training.contest import Contest
from training.results import LatentHealth

Decide = Callable[..., Promotion]


def contest(candidate: float, current: float, **healths: LatentHealth) -> Contest:
    return Contest(metric="ROC AUC", rows=1_000, candidate=candidate, current=current, **healths)


def health(active: int, dim: int = 8, merged: int = 0) -> LatentHealth:
    return LatentHealth(
        dim=dim, active_units=active, max_correlation=0.1, least_variance=0.5,
        greatest_variance=1.5, merged_rows=merged,
    )  # fmt: skip


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


@pytest.mark.parametrize(
    ("ours", "theirs", "passed"),
    [
        (health(8), health(8), True),
        (health(7, dim=16), health(8), False),
        (health(5), health(8), False),
        (health(4, dim=4), health(8), True),  # fewer, but all of them
        (health(10, dim=16), health(8), True),  # a smaller share, but more
        (health(8, merged=20), health(8), False),
        (health(8, merged=20), health(8, merged=15), True),
    ],
    ids=str,
)
def test_a_candidate_must_be_as_alive_as_the_current_model(
    ours: LatentHealth, theirs: LatentHealth, passed: bool
) -> None:
    found = contest(0.9, 0.8, candidate_health=ours, current_health=theirs)
    decision = judge(found, candidate="new", current="old", margin=0.01)
    assert (decision.promoted, check_latents(found)[0].passed) == (passed, passed)


def test_a_refusal_tells_what_failed_and_a_promotion_all_that_was_checked() -> None:
    dead = contest(0.9, 0.8, candidate_health=health(2), current_health=health(8))
    assert "2 of 8 units vary" in judge(dead, candidate="n", current="o", margin=0).reason
    assert "0.9000" not in judge(dead, candidate="n", current="o", margin=0).reason
    alive = contest(0.9, 0.8, candidate_health=health(8), current_health=health(8))
    decision = judge(
        alive, Check(name="intact", passed=True, found="x"), candidate="n", current="o", margin=0
    )
    assert [check.name for check in decision.checks] == ["intact", "score", "latents"]
    assert "0.9000 against 0.8000" in decision.reason


@pytest.fixture
def job(project: Path) -> RefreshJob:
    return refresh_job(project)


@pytest.fixture
def deciding(source: Path, bundle: Path) -> Decide:
    """Decides on the session's bundle, beside the given current one."""

    def decided(current: str | None, **changes: Any) -> Promotion:
        known = {"source": str(source), "label": "late", "margin": 0.01, "progress": Silent()}
        return decide(changes.pop("candidate", str(bundle)), current, **(known | changes))

    return decided


def test_the_same_work_is_the_same_version(job: RefreshJob) -> None:
    assert candidate_version(job) == candidate_version(job)


def test_other_work_is_another_version(job: RefreshJob) -> None:
    other = job.model_copy(update={"train": job.train.model_copy(update={"seed": 9})})
    assert candidate_version(other) != candidate_version(job)


def test_a_current_that_is_damaged_is_replaced_and_the_reason_told(deciding: Decide) -> None:
    decision = deciding("nowhere")
    assert decision.promoted
    assert "cannot be used any more" in decision.reason


def test_a_model_is_compared_with_itself_on_rows_it_has_not_seen(
    deciding: Decide, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "twin").symlink_to(bundle)
    decision = deciding(str(tmp_path / "twin"))
    assert decision.promoted
    assert decision.candidate_score == decision.current_score
    assert [check.name for check in decision.checks] == ["intact", "score", "latents"]


def test_without_a_label_models_are_compared_by_hidden_columns(
    deciding: Decide, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "twin").symlink_to(bundle)
    decision = deciding(str(tmp_path / "twin"), label=None)
    assert "R² of hidden columns" in decision.reason


def test_a_current_model_that_cannot_read_the_table_is_replaced_and_the_reason_told(
    deciding: Decide, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise SchemaError("column 'delay' (number) is missing")

    monkeypatch.setattr("flows.gate.contest", refuses)
    decision = deciding("old")
    assert decision.promoted
    assert "column 'delay' (number) is missing" in decision.reason


def test_a_candidate_that_cannot_read_the_table_is_never_promoted(
    deciding: Decide, table: Any, folder_of: Any, tmp_path: Path
) -> None:
    changed = folder_of(tmp_path / "in", table().drop_columns(["delay"]))
    with pytest.raises(SchemaError, match="delay"):
        deciding("old", source=str(changed))


def test_without_rows_that_neither_has_seen_the_current_model_stays(
    deciding: Decide, monkeypatch: pytest.MonkeyPatch
) -> None:
    def has_no_rows(*_: object, **__: object) -> None:
        raise DataError("two rows that neither model has seen or more are required")

    monkeypatch.setattr("flows.gate.contest", has_no_rows)
    decision = deciding("old")
    assert (decision.promoted, decision.current) == (False, "old")


@pytest.mark.parametrize("current", ["old", None])
def test_a_broken_candidate_is_refused_in_one_sentence(
    deciding: Decide, bundle: Path, tmp_path: Path, current: str | None
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in bundle.glob("*.*"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= path.name == "encoder.onnx"
        (broken / path.name).write_bytes(data)
    decision = deciding(current, candidate=str(broken))
    assert (decision.promoted, decision.current) == (False, current)
    assert "the candidate is refused: " in decision.reason
    assert "encoder.onnx is damaged" in decision.reason


def test_a_candidate_without_the_figures_of_the_export_gate_is_refused(
    bundle: Path, tmp_path: Path
) -> None:
    known = Bundle.open(bundle)
    told = known.manifest.model_copy(update={"parity": {}})
    ungated = Bundle.write(
        tmp_path / "ungated", manifest=told, files={n: known.read(n) for n in known.manifest.files}
    )
    found = check_intact(str(ungated.path))
    assert not found.passed
    assert "no figures of torch, reference, steady, latents" in found.found


@pytest.fixture
def embedded(bundle: Path, source: Path, tmp_path: Path) -> Path:
    """A destination that the session's bundle has embedded its own table to."""
    to = tmp_path / "vectors"
    embed(EmbeddingJob(bundle=str(bundle), source=str(source), destination=str(to)))
    return to


def with_broken_join(bundle: Path, to: Path) -> Bundle:
    """The bundle as if it had learnt from a table where most of `delay` is null."""
    known = Bundle.open(bundle)
    files = {name: known.read(name) for name in known.manifest.files}
    profile = json.loads(files["profile.json"])
    (place,) = [i for i, gauge in enumerate(profile["gauges"]) if gauge["name"] == "delay"]
    for block in profile["training"]["blocks"]:
        nulls, *rest = block["counts"][place]
        kept = [count // 5 for count in rest]
        block["counts"][place] = [nulls + sum(rest) - sum(kept), *kept]
    files["profile.json"] = json.dumps(profile).encode()
    return Bundle.write(to, manifest=known.manifest, files=files)


def test_a_candidate_of_a_table_with_a_broken_join_is_refused(
    deciding: Decide, bundle: Path, embedded: Path, tmp_path: Path
) -> None:
    broken = with_broken_join(bundle, tmp_path / "broken")
    decision = deciding(str(bundle), candidate=str(broken.path), destination=str(embedded))
    assert not decision.promoted
    assert "its table is farther from the rows embedded last" in decision.reason
    assert "in delay (" in decision.reason


def test_a_candidate_of_a_table_like_the_last_suits_the_destination(
    deciding: Decide, bundle: Path, embedded: Path, tmp_path: Path
) -> None:
    (tmp_path / "twin").symlink_to(bundle)
    decision = deciding(str(tmp_path / "twin"), destination=str(embedded))
    assert [check.name for check in decision.checks] == ["intact", "drift", "score", "latents"]
    assert decision.promoted


def test_a_destination_whose_profile_is_damaged_stops_no_promotion(
    bundle: Path, embedded: Path
) -> None:
    (profile,) = (embedded / "versions").glob("*/_profile.json")
    profile.write_bytes(b"{}")
    (found,) = check_drift(Bundle.open(bundle), str(embedded))
    assert found.passed
    assert "drift was not compared" in found.found


def test_a_destination_that_is_not_there_yet_tells_nothing(bundle: Path, tmp_path: Path) -> None:
    assert check_drift(Bundle.open(bundle), str(tmp_path / "nowhere")) == ()


@pytest.fixture
def models(bundle: Path, source: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """A registry with two versions, the first in production, the second its candidate."""
    root = tmp_path / "models"
    first = add(str(root), str(bundle)).version
    promoting(root, source)
    known = Bundle.open(bundle)
    told = known.manifest.model_copy(update={"recipe": "linear again"})
    other = Bundle.write(
        tmp_path / "other", manifest=told, files={n: known.read(n) for n in known.manifest.files}
    )
    return root, [first, add(str(root), str(other.path)).version]


def promoting(models: Path, source: Path, **changes: Any) -> Promotion:
    by_hand = changes.pop("by_hand", False)
    job = PromotionJob(models=str(models), source=str(source), **changes)
    return promote(job, by_hand=by_hand, progress=Silent())


def production(models: Path) -> str:
    return (models / "production").resolve().name


def test_the_first_candidate_is_promoted_and_the_next_one_judged(
    models: tuple[Path, list[str]], source: Path
) -> None:
    root, versions = models
    assert production(root) == versions[0]
    decision = promoting(root, source)
    assert decision.promoted
    assert "rows that neither has seen" in decision.reason
    assert production(root) == versions[1]
    assert Bundle.open(root / "production").manifest.recipe == "linear again"


def test_a_rollback_is_kept_from_refreshes_until_it_is_let_go_or_overruled_by_hand(
    models: tuple[Path, list[str]], source: Path
) -> None:
    root, versions = models
    promoting(root, source)
    assert roll_back(str(root), None).run_id == production(root) == versions[0]
    decision = promoting(root, source)
    assert (decision.promoted, production(root)) == (False, versions[0])
    assert "--unpin" in decision.reason
    unpin(str(root))
    assert production(root) == versions[0]
    assert promoting(root, source).promoted
    roll_back(str(root), versions[0][:6])
    assert promoting(root, source, by_hand=True).promoted
    assert production(root) == versions[1]


def test_what_was_judged_beside_a_model_that_is_gone_is_judged_again(
    models: tuple[Path, list[str]], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, versions = models
    judged: list[str | None] = []

    def races(candidate: str, current: str | None, **known: Any) -> Promotion:
        judged.append(current)
        if len(judged) == 1:  # another refresh promotes meanwhile
            registry = open_registry(root)
            assert registry.move(
                "production", Pointer(run_id=versions[1]), expected=Pointer(run_id=versions[0])
            )
        return decide(candidate, current, **known)

    monkeypatch.setattr("flows.promotion.decide", races)
    decision = promoting(root, source)
    assert judged == [str(root / "versions" / version) for version in versions]
    assert "in production already" in decision.reason


def test_a_pin_that_is_made_while_a_candidate_is_judged_stays(
    models: tuple[Path, list[str]], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, versions = models

    def pins(candidate: str, current: str | None, **known: Any) -> Promotion:
        roll_back(str(root), versions[0])
        return Promotion(promoted=True, reason="better", candidate=candidate, current=candidate)

    monkeypatch.setattr("flows.promotion.decide", pins)
    decision = promoting(root, source)
    assert (decision.promoted, production(root)) == (False, versions[0])
    assert "has pinned production" in decision.reason


def test_a_rollback_without_a_version_before_says_so(models: tuple[Path, list[str]]) -> None:
    with pytest.raises(BundleError, match="in production before, found none"):
        roll_back(str(models[0]), None)


def test_an_alias_of_a_version_that_was_removed_is_told_and_mended_by_a_promotion(
    models: tuple[Path, list[str]], source: Path
) -> None:
    root, versions = models
    open_registry(root).remove(versions[0])
    with pytest.raises(BundleError, match=f"found that versions/{versions[0]} is not there"):
        Bundle.open(root / "production")
    decision = promoting(root, source)
    assert decision.promoted
    assert "cannot be used any more" in decision.reason
    assert production(root) == versions[1]


def test_a_version_whose_table_nothing_tells_needs_one(models: tuple[Path, list[str]]) -> None:
    with pytest.raises(ConfigError, match="--source is required"):
        promote(PromotionJob(models=str(models[0])), by_hand=True, progress=Silent())


def test_a_production_that_is_a_folder_is_not_overwritten(
    models: tuple[Path, list[str]], source: Path
) -> None:
    root, _ = models
    (root / "production").unlink()
    (root / "production").mkdir()
    with pytest.raises(DestinationError, match="must be a link"):
        promoting(root, source)
