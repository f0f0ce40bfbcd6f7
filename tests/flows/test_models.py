"""The commands of a registry, as an operator calls them: what they say, and how they end."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import differences, model_facts, registration
from pipeline.bundle import Bundle
from pipeline.publishing import Pointer
from pipeline.registries import open_registry
from pipeline.registry import find
from pipeline.schema import FeatureSchema

Cli = Callable[..., Any]


@pytest.fixture(scope="session")
def other(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle with another contract, recipe, option and report."""
    known = Bundle.open(bundle)
    columns = []
    for column in known.manifest.feature_schema.columns:
        if column.name == "weekend":
            continue
        renamed = {"name": "far"} if column.name == "distance" else {}
        kind = {"kind": "category"} if column.name == "delay" else {}
        columns.append(column.model_copy(update=renamed | kind))
    told = known.manifest.model_copy(
        update={"recipe": "denoising", "feature_schema": FeatureSchema(columns=tuple(columns))}
    )
    files = {name: known.read(name) for name in known.manifest.files}
    spec = json.loads(files["spec.json"])
    spec["seed"] = 7
    files["spec.json"] = json.dumps(spec).encode()
    made = Bundle.write(tmp_path_factory.mktemp("other") / "other", manifest=told, files=files).path
    (made / "report").mkdir()
    numbers = json.loads((bundle / "report" / "evaluation.json").read_bytes())
    for score in numbers["scores"]:
        score["score"] = 0.25
    (made / "report" / "evaluation.json").write_text(json.dumps(numbers))
    return made


@pytest.fixture
def models(bundle: Path, tmp_path: Path, source: Path, cli_here: Cli) -> Path:
    """A registry with the session's bundle in production."""
    root = tmp_path / "models"
    cli_here("models", "add", root, bundle)
    assert cli_here("models", "promote", root, "--source", source).code == 0
    return root


@pytest.fixture
def version(models: Path) -> str:
    return open_registry(models).versions()[0]


def test_a_bundle_is_added_promoted_and_listed(models: Path, version: str, cli_here: Cli) -> None:
    found = cli_here("models", "list", models, "--json").document
    assert (found["production"], found["candidate"], found["before"]) == (version, version, None)
    (model,) = found["versions"]
    assert model["aliases"] == ["production", "candidate"]
    assert (model["recipe"], model["dim"], model["lineage"]["label"]) == ("linear", 3, "late")
    lines = cli_here("models", "list", models).out
    assert version in lines
    assert f"{model['probe']['scores']['embedding']:.4f}" in lines


def test_show_tells_lineage_reason_and_card(
    models: Path, version: str, bundle: Path, cli_here: Cli
) -> None:
    shown = cli_here("models", "show", models).out
    assert version in shown
    assert "there was no model before" in shown
    assert "registered" in shown
    assert (bundle / "report" / "model_card.md").read_text().splitlines()[-1] in shown
    found = cli_here("models", "show", models, version[:5], "--json").document
    assert found["model"]["lineage"]["bundle"] == Bundle.open(bundle).fingerprint
    assert [move["version"] for move in found["moves"]] == [version]


def test_a_refused_candidate_ends_with_3_and_says_why(
    models: Path, version: str, other: Path, source: Path, cli_here: Cli
) -> None:
    registration.add(str(models), str(other))
    done = cli_here("models", "promote", models, "--source", source)
    assert done.code == 3
    assert "the candidate is refused: " in " ".join(done.out.split())
    assert cli_here("models", "list", models, "--json").document["production"] == version


def test_rollback_goes_back_pins_and_lets_go(
    models: Path, version: str, other: Path, cli_here: Cli
) -> None:
    newer = registration.add(str(models), str(other)).version
    registry = open_registry(models)
    registry.move(
        "production", registry.history("candidate")[0].pointer, expected=Pointer(run_id=version)
    )
    told = cli_here("models", "rollback", models, "--json").document
    assert (told["production"], told["pinned"], told["candidate"]) == (version, True, newer)
    assert "--unpin" in cli_here("models", "list", models).out
    assert cli_here("models", "rollback", models, "--unpin", "--json").document["pinned"] is False
    named = cli_here("models", "rollback", models, newer[:8], "--json").document
    assert (named["production"], named["before"]) == (newer, version)


def test_diff_tells_columns_options_scores_and_sizes(
    bundle: Path, other: Path, cli_here: Cli
) -> None:
    found = cli_here("models", "diff", bundle, other, "--json").document
    assert found["columns_added"] == ["far"]
    assert found["columns_removed"] == ["distance", "weekend"]
    assert found["columns_changed"] == [{"name": "delay: kind", "a": "number", "b": "category"}]
    assert {"name": "seed", "a": "0", "b": "7"} in found["options"]
    assert (found["a"]["recipe"], found["b"]["recipe"]) == ("linear", "denoising")
    assert {score["b"] for score in found["scores"] if "probe" in score["name"]} == {0.25}
    lines = cli_here("models", "diff", bundle, other).out
    for told in ("weekend", "number → category", "0 → 7", "denoising", "→ 0.2500 (-"):
        assert told in lines


def test_a_bundle_does_not_differ_from_its_alias(models: Path, bundle: Path, cli_here: Cli) -> None:
    assert "same bundle" in cli_here("models", "diff", models / "production", bundle).out


def test_scores_for_other_labels_are_not_set_side_by_side(
    bundle: Path, other: Path, tmp_path: Path
) -> None:
    copy = open_registry(tmp_path / "models", create=True)
    version = registration.add(copy.path, str(other)).version
    path = Path(copy.location(version)) / "report" / "evaluation.json"
    path.write_text(path.read_text().replace('"label": "late"', '"label": "early"'))
    assert differences.difference(str(bundle), copy.location(version)).scores == ()


def test_scores_that_cannot_be_compared_are_not_called_alike(
    bundle: Path, other: Path, cli_here: Cli, tmp_path: Path
) -> None:
    copy = open_registry(tmp_path / "models", create=True)
    version = registration.add(copy.path, str(other)).version
    (Path(copy.location(version)) / "report" / "evaluation.json").unlink()
    lines = cli_here("models", "diff", bundle, copy.location(version)).out
    assert "scores: none that both reports have" in lines
    assert "scores: as before" not in lines


def test_a_bundle_that_was_added_by_hand_says_what_is_unknown(
    models: Path, bundle: Path, cli_here: Cli
) -> None:
    found = cli_here("models", "show", models).out
    data = Bundle.open(bundle).manifest.training_data
    told = " ".join(found.split())
    assert "table unknown, the bundle was added by hand" in told
    assert f"state {data['fingerprint'][:12]}; {data['rows']:,} rows learnt from" in told
    assert "run unknown" in told


def test_a_production_that_is_gone_is_listed_as_such(
    models: Path, version: str, other: Path, cli_here: Cli
) -> None:
    assert "not there any more" not in cli_here("models", "list", models).out
    registration.add(str(models), str(other))
    open_registry(models).remove(version)
    told = " ".join(cli_here("models", "list", models).out.split())
    assert f"production {version}; not there any more" in told
    assert "before none" in told


def test_a_rollback_beside_another_move_is_told(
    models: Path, version: str, other: Path, cli_here: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = registration.add(str(models), str(other)).version
    registry = open_registry(models)

    def moved_meanwhile(path: str) -> Bundle:
        assert registry.move("production", Pointer(run_id=newer), expected=Pointer(run_id=version))
        return Bundle.open(path)

    with monkeypatch.context() as patched:
        patched.setattr(registration, "Bundle", SimpleNamespace(open=moved_meanwhile))
        done = cli_here("models", "rollback", models, version)
    assert done.code == 1
    assert "was moved by another run meanwhile; look where it leads now" in done.err
    assert find(registry, "production") == newer


def test_gc_keeps_the_model_of_vectors_that_are_read(
    models: Path, version: str, other: Path, bundle: Path, source: Path, cli_here: Cli
) -> None:
    out = models.parent / "vectors"
    assert cli_here("embed", bundle, source, out).code == 0
    newer = registration.add(str(models), str(other)).version
    registry = open_registry(models)
    (models / "production").unlink()
    assert registry.move("production", Pointer(run_id=newer), expected=None)
    words = ("models", "gc", models, "--keep", 1, "--grace", "0s", "--json")
    assert cli_here(*words, "--destination", out).document["versions"] == []
    nothing = cli_here(*words, "--destination", models.parent / "nowhere")
    assert (nothing.code, registry.has(version)) == (3, True)
    assert cli_here(*words).document["versions"] == [version]


def test_gc_keeps_what_is_used(models: Path, version: str, other: Path, cli_here: Cli) -> None:
    newer = registration.add(str(models), str(other)).version
    done = cli_here("models", "gc", models, "--keep", 1, "--grace", "0s", "--json").document
    assert done["versions"] == []
    (models / "candidate").unlink()
    listed = cli_here("models", "list", models, "--json").document["versions"]
    assert [one["version"] for one in listed] == [newer, version]


def test_a_damaged_version_is_listed_as_such(models: Path, version: str, cli_here: Cli) -> None:
    path = models / "versions" / version / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"linear"', b'"lineal"'))
    (model,) = cli_here("models", "list", models, "--json").document["versions"]
    assert "is damaged" in model["damage"]
    assert "damaged" in cli_here("models", "list", models).out


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["list", "nowhere"], 3, "must be empty or a folder of models, found nothing"),
        (["show", "MODELS", "x"], 3, "'x' must name one version"),
        (["show", "MODELS", "../../etc"], 3, "'../../etc' must name one version"),
        (["show", "MODELS", "a b/\u202eü"], 3, "ü' must name one version"),
        (["show", "MODELS", "y" * 5_000], 3, "yyy...' must name one version"),
        (["promote", "MODELS", "x"], 3, "'x' must name one version"),
        (["promote", "MODELS"], 2, "--source is required"),
        (["rollback", "MODELS"], 3, "in production before, found none"),
        (["rollback", "MODELS", "x", "--unpin"], 2, "--unpin takes no VERSION"),
        (["gc", "MODELS", "--keep", "0"], 2, "greater than or equal to 1"),
        (["diff", "MODELS/production", "nowhere"], 3, "must be a bundle"),
        (["add", "MODELS", "nowhere"], 3, "must be a bundle"),
    ],
    ids=str,
)
def test_what_cannot_be_ends_with_its_code_and_one_sentence(
    models: Path, version: str, cli_here: Cli, words: list[str], code: int, told: str
) -> None:
    done = cli_here("models", *(word.replace("MODELS", str(models)) for word in words))
    assert (done.code, told in done.err) == (code, True), done.err
    assert model_facts.listing(str(models)).production == version
