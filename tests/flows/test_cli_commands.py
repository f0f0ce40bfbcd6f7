"""The commands as a scheduler calls them: in processes of their own, with one JSON document."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Cli = Callable[..., Any]


def test_train_answers_with_bundle_recipe_probe_and_report(trained: tuple[Path, Any]) -> None:
    out, done = trained
    told = done.document
    assert (told["bundle"], told["recipe"], told["dim"]) == (str(out), "linear", 3)
    assert {"embedding", "PCA", "raw"} <= set(told["probe"]["scores"])
    assert Path(told["report"]).is_file()


def test_train_tells_its_progress_on_standard_error(trained: tuple[Path, Any]) -> None:
    assert "(100 %)" in trained[1].err


def test_train_leaves_no_work_folder(bundle: Path) -> None:
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


def test_the_label_is_never_an_input(cli_here: Cli, bundle: Path) -> None:
    told = cli_here("inspect", bundle, "--json").document
    assert told["features"] == {"number": 2, "category": 1, "boolean": 1}
    assert told["labels"] == ["late"]


def test_a_label_that_cannot_be_probed_does_not_cost_the_model(
    bundle: Path, table: Cli, folder_of: Cli, tmp_path: Path
) -> None:
    from flows.verbs import conclude
    from pipeline.progress import Silent
    from training.spec import TrainingJob

    out = shutil.copytree(bundle, tmp_path / "model")
    rows = table()
    source = folder_of(tmp_path / "in", rows.append_column("same", pa.repeat(1, len(rows))))
    job = TrainingJob(source=str(source), out=str(out), label=("same",))
    told = conclude(job, progress=Silent(), started=0.0)
    assert told.probe is None
    assert any("label 'same' needs two values" in note for note in told.notes)
    assert Path(told.report).is_file()


def test_train_tells_the_columns_that_no_kind_reads() -> None:
    from flows import texts
    from flows.results import TrainingResult
    from flows.verbs import unread
    from pipeline.schema_inference import infer

    stay = pa.array([1], pa.duration("s"))
    table = pa.table({"x": [1.0], "stay": stay, "photo": [b"png"], "day": ["2026-01-02"]})
    left_out = unread(infer(table.schema, table, labels=["photo"]))
    assert left_out == ("stay (duration[s])", "day (dates as text)")
    required = {"bundle": "m", "fingerprint": "0", "recipe": "linear", "dim": 1, "rows": 1}
    told = texts.training(
        TrainingResult(
            **required, probe=None, verdict="", report="r", seconds=1.0, left_out=left_out
        )
    )
    assert "left out  stay (duration[s]), day (dates as text): such columns are no features" in told
    assert "linear, 1 number a row, 1 training row\n" in told


def test_embed_publishes_and_repeats_as_a_no_op(
    cli_here: Cli, bundle: Path, source: Path, tmp_path: Path
) -> None:
    first = cli_here("embed", bundle, source, tmp_path / "out", "--json").document
    again = cli_here("embed", bundle, source, tmp_path / "out", "--json").document
    assert (first["rows"], first["published"], first["computed"]) == (800, True, 2)
    assert (again["run_id"], again["published"], again["computed"]) == (
        *(first["run_id"], False, 0),
    )
    assert pq.read_table(tmp_path / "out" / "current").num_rows == 800


def test_embed_writes_what_its_options_say(
    cli_here: Cli, bundle: Path, source: Path, tmp_path: Path
) -> None:
    words = ["--vector", "wide", "--scores", "--threads", 1, "--memory", "4GB", "--keep", 1]
    assert cli_here("embed", bundle, source, tmp_path / "out", *words).code == 0
    names = pq.read_table(tmp_path / "out" / "current").column_names
    assert names == ["id", "embedding_0", "embedding_1", "embedding_2", "reconstruction_error"]


def test_evaluate_writes_the_report_again(cli_here: Cli, bundle: Path, source: Path) -> None:
    done = cli_here("evaluate", bundle, source, "--label", "late", "--json")
    assert done.code == 0
    assert Path(done.document["report"]).is_file()
    assert done.document["probe"]["rows"] > 0


def test_evaluate_takes_another_table_as_the_test(
    cli_here: Cli, bundle: Path, source: Path, tmp_path: Path, table: Cli, folder_of: Cli
) -> None:
    test = folder_of(tmp_path / "test", table(150, seed=5, first=5_000))
    done = cli_here("evaluate", bundle, source, "--label", "late", "--test", test, "--json")
    assert done.document["probe"]["rows"] == 150


def test_inspect_describes_a_source(cli_here: Cli, source: Path) -> None:
    told = cli_here("inspect", source, "--json").document
    kinds = {column["name"]: column["kind"] for column in told["columns"]}
    assert (told["what"], told["rows"], told["files"]) == ("source", 800, 2)
    assert kinds["carrier"] == "category"
    assert kinds["at"] == "timestamp"


def test_small_sizes_are_told_in_small_units(
    cli_here: Cli, table: Cli, folder_of: Cli, tmp_path: Path
) -> None:
    told = cli_here("inspect", folder_of(tmp_path / "in", table(40))).out
    assert "40 rows in 1 file, " in told
    assert " kB\n" in told


def test_inspect_tells_null_shares(cli_here: Cli, source: Path) -> None:
    told = cli_here("inspect", source, "--json").document
    nulls = {column["name"]: column["nulls"] for column in told["columns"]}
    assert nulls["id"] == 0
    assert nulls["delay"] == pytest.approx(0.1, abs=0.05)


def test_inspect_describes_a_destination(
    cli_here: Cli, bundle: Path, source: Path, tmp_path: Path
) -> None:
    cli_here("embed", bundle, source, tmp_path / "out")
    told = cli_here("inspect", tmp_path / "out", "--json").document
    assert told["what"] == "destination"
    assert [(v["rows"], v["current"]) for v in told["versions"]] == [(800, True)]


@pytest.mark.parametrize("what", ["source", "bundle", "destination"])
def test_inspect_fits_a_screen(
    cli_here: Cli, bundle: Path, source: Path, tmp_path: Path, what: str
) -> None:
    cli_here("embed", bundle, source, tmp_path / "destination")
    path = {"source": source, "bundle": bundle, "destination": tmp_path / "destination"}[what]
    lines = cli_here("inspect", path).out.splitlines()
    assert lines[0].startswith(what)
    assert len(lines) < 50


def test_verify_confirms_bundle_and_destination(
    cli_here: Cli, bundle: Path, source: Path, tmp_path: Path
) -> None:
    cli_here("embed", bundle, source, tmp_path / "out")
    told = [
        cli_here("verify", path, "--json").document["what"] for path in (bundle, tmp_path / "out")
    ]
    assert told == ["bundle", "destination"]


@pytest.fixture(scope="module")
def from_a_file(
    cli: Cli, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any]:
    """A bundle trained from a project file that names no label, without --json."""
    folder = tmp_path_factory.mktemp("project")
    text = f'[train]\nsource = "{source}"\nkey = ["id"]\nignore = ["at", "late"]\n'
    (folder / "parquet2vec.toml").write_text(f'{text}recipe = "linear"\ndim = 3\n')
    words = ["--config", folder / "parquet2vec.toml", "--out", folder / "m", "--dim", 2]
    return folder / "m", cli("train", *words)


def test_train_reads_its_project_file_and_options_overrule_it(
    cli_here: Cli, from_a_file: tuple[Path, Any]
) -> None:
    told = cli_here("inspect", from_a_file[0], "--json").document
    assert (told["recipe"], told["dim"]) == ("linear", 2)


def test_train_says_it_in_lines_for_people_and_needs_no_label(
    from_a_file: tuple[Path, Any],
) -> None:
    assert from_a_file[1].code == 0
    lines = from_a_file[1].out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [
        *("bundle", "recipe", "verdict", "report", "took")
    ]


def test_train_replaces_a_bundle_but_nothing_else(
    cli_here: Cli, bundle: Path, source: Path, tmp_path: Path
) -> None:
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").write_bytes(b"meow")
    done = cli_here("train", source, "--out", other)
    assert done.code == 2
    assert "choose another" in done.err
    assert [path.name for path in other.iterdir()] == ["cat.jpg"]


def test_a_commands_result_and_nothing_else_is_on_standard_output(
    cli: Cli, bundle: Path, source: Path, tmp_path: Path
) -> None:
    done = cli("embed", bundle, source, tmp_path / "out", "--json")
    assert done.document["rows"] == 800
    assert "rows: 800 of 800 (100 %)" in done.err


def test_a_terminal_without_unicode_shows_what_it_can(
    cli: Cli, bundle: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    to = tmp_path / "Verspätung"
    done = cli("embed", bundle, source, to)
    assert done.code == 0, done.err
    assert "Versp?tung" in done.out


def test_foreign_packages_in_the_folder_are_not_ours(
    cli: Cli, bundle: Path, source: Path, tmp_path: Path
) -> None:
    for name in ("flows", "pipeline", "export", "training"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not ours')")
    done = cli("embed", bundle, source, "out", cwd=tmp_path)
    assert done.code == 0, done.err
    shutil.rmtree(tmp_path / "out")
