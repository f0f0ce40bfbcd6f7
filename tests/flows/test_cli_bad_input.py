"""Bad input: one clear message, the right exit code, and nothing published."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

Cli = Callable[..., Any]
TRAIN = ("--recipe", "linear", "--key", "id", "--ignore", "at", "--label", "late")


def refused(done: Any, code: int, *words: str) -> None:
    """One message of one line that holds all `words`, and the exit code."""
    messages = [line for line in done.err.splitlines() if line.startswith("parquet2vec: ")]
    assert len(messages) == 1, done.err
    assert done.code == code, done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    for word in words:
        assert word in messages[0]


@pytest.fixture
def embeds(cli_here: Cli, bundle: Path, tmp_path: Path) -> Callable[[Path], Any]:
    """Embeds a source and asserts that nothing was published."""

    def embed(source: Path) -> Any:
        done = cli_here("embed", bundle, source, tmp_path / "out")
        assert not (tmp_path / "out" / "current").exists()
        return done

    return embed


@pytest.fixture
def trains(cli_here: Cli, tmp_path: Path) -> Callable[..., Any]:
    """Trains on a source and asserts that no bundle was written."""

    def train(source: Path, *options: str) -> Any:
        done = cli_here("train", source, "--out", tmp_path / "model", *(options or TRAIN))
        assert not (tmp_path / "model").exists()
        return done

    return train


def test_a_missing_column(embeds: Cli, table: Cli, folder_of: Cli, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", table(), table().drop_columns(["carrier"]))
    refused(embeds(source), 3, "carrier", "missing", "file-1.parquet")


def test_a_changed_type(embeds: Cli, table: Cli, folder_of: Cli, tmp_path: Path) -> None:
    good = table()
    place = good.column_names.index("delay")
    changed = good.set_column(place, "delay", good["delay"].cast(pa.string()))
    source = folder_of(tmp_path / "in", good, changed)
    refused(embeds(source), 3, "delay", "number", "string", "file-1.parquet", "cast")


def test_a_truncated_file(embeds: Cli, table: Cli, folder_of: Cli, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", table(), table())
    path = source / "file-1.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    refused(embeds(source), 3, str(path), "truncated")


def test_an_empty_folder(embeds: Cli, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    refused(embeds(tmp_path / "in"), 3, ".parquet", "found nothing")


def test_a_source_that_is_not_there(embeds: Cli, tmp_path: Path) -> None:
    refused(embeds(tmp_path / "nowhere"), 3, "nowhere", "does not exist")


def test_training_on_an_empty_folder(trains: Cli, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    refused(trains(tmp_path / "in"), 3, ".parquet")


def test_training_on_a_truncated_file(
    trains: Cli, table: Cli, folder_of: Cli, tmp_path: Path
) -> None:
    path = folder_of(tmp_path / "in", table()) / "file-0.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    refused(trains(path.parent), 3, str(path), "truncated")


def test_a_label_that_is_missing(trains: Cli, source: Path) -> None:
    refused(trains(source, "--label", "lat"), 3, "lat", "did you mean 'late'")


def test_an_evaluation_by_a_label_that_is_missing(
    cli_here: Cli, bundle: Path, source: Path
) -> None:
    refused(cli_here("evaluate", bundle, source, "--label", "lat"), 3, "lat", "did you mean 'late'")


def test_a_column_that_is_all_null(trains: Cli, table: Cli, folder_of: Cli, tmp_path: Path) -> None:
    good = table()
    nulls = good.append_column("gone", pa.nulls(good.num_rows, pa.float64()))
    source = folder_of(tmp_path / "in", nulls)
    refused(trains(source), 3, "gone", "null")


def test_no_usable_feature(trains: Cli, table: Cli, folder_of: Cli, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", table().select(["id", "at", "late"]))
    refused(trains(source), 3, "feature", "id (int64, key)")


def test_a_recipe_that_does_not_exist(trains: Cli, source: Path) -> None:
    refused(trains(source, "--recipe", "magic"), 2, "magic", "linear")


def test_a_bundle_with_one_byte_flipped(
    cli_here: Cli, bundle: Path, source: Path, tmp_path: Path
) -> None:
    damaged = shutil.copytree(bundle, tmp_path / "model") / "core.onnx"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    refused(cli_here("embed", damaged.parent, source, tmp_path / "out"), 3, str(damaged), "damaged")
    refused(cli_here("verify", damaged.parent), 3, str(damaged), "damaged")
    assert not (tmp_path / "out" / "current").exists()


def test_a_folder_that_is_no_bundle(cli_here: Cli, source: Path, tmp_path: Path) -> None:
    done = cli_here("embed", source, source, tmp_path / "out")
    refused(done, 3, "must be a bundle", "parquet2vec train")


def test_a_destination_that_is_not_ours(
    cli_here: Cli, bundle: Path, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"meow")
    refused(cli_here("embed", bundle, source, tmp_path / "photos"), 3, "photos", "choose another")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


def test_a_destination_that_another_run_holds(
    cli_here: Cli, bundle: Path, source: Path, tmp_path: Path
) -> None:
    from pipeline.destinations import open_destination

    with open_destination(tmp_path / "out", create=True).locked():
        refused(cli_here("embed", bundle, source, tmp_path / "out"), 4, "another run")


def test_a_project_file_with_an_unknown_field(cli_here: Cli, project: Path) -> None:
    project.write_text(project.read_text() + 'models2 = "x"\n')
    refused(cli_here("flow", "refresh", project), 2, "$.refresh.models2")


def test_nothing_to_verify(cli_here: Cli, tmp_path: Path) -> None:
    refused(cli_here("verify", tmp_path), 3, str(tmp_path))


def test_an_error_in_json_is_one_document(cli_here: Cli, bundle: Path, tmp_path: Path) -> None:
    done = cli_here("embed", bundle, tmp_path / "nowhere", tmp_path / "out", "--json")
    assert done.document["error"]["exit_code"] == done.code == 3
