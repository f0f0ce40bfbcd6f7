from pathlib import Path

import pytest

from flows.project import flow_settings, load_project, refresh_job, training_job
from pipeline.errors import ConfigError

TRAIN = '[train]\nsource = "table"\nout = "model"\n'
EMBED = '[embed]\nsource = "/data/table"\ndestination = "vectors"\nbundle = "model"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "parquet2vec.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (TRAIN + "dimm = 3\n", "$.train.dimm"),
        (TRAIN + "dim = 0\n", "$.train.dim"),
        (TRAIN + "[train.training]\nstepz = 3\n", "$.train.training.stepz"),
        (TRAIN + "[train.network]\nwidths = [3]\n", "$.train.network.widths"),
        (TRAIN + "[train.network]\nhidden = [0]\n", "$.train.network.hidden.0"),
        (TRAIN + '[train.columns.age]\nkind = "colour"\n', "$.train.columns.age.kind"),
        (EMBED + 'memory = "much"\n', "$.embed.memory"),
        ("[trian]\n", "$.trian"),
        ("train = 3\n", "$.train"),
        (TRAIN.replace("table", "https://host/table"), "$.train.source"),
        (TRAIN.replace("model", "s3://lake/model"), "$.train.out"),
        (EMBED.replace("/data/table", "s3://lake/table?x=1"), "$.embed.source"),
        (EMBED.replace("vectors", "s3://key:secret@lake/t"), "$.embed.destination"),
        ('[refresh]\nmodels = "gs://lake/models"\n', "$.refresh.models"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(tmp_path: Path, text: str, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_project(written(tmp_path, text))
    assert f"{path}:" in str(caught.value)


def test_relative_paths_count_from_the_file(tmp_path: Path) -> None:
    project = load_project(written(tmp_path, TRAIN + EMBED))
    assert project.train is not None
    assert project.embed is not None
    assert project.train.source == str(tmp_path / "table")
    assert project.embed.source == "/data/table"


def test_an_address_is_no_relative_path(tmp_path: Path) -> None:
    project = load_project(written(tmp_path, TRAIN.replace("table", "s3://bucket/table")))
    assert project.train is not None
    assert project.train.source == "s3://bucket/table"


def test_what_is_given_by_hand_overrules_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, TRAIN + "seed = 1\ndim = 4\n")
    job = training_job({"seed": 2}, path=path)
    assert (job.seed, job.dim) == (2, 4)


def test_what_neither_says_is_told_with_both_places() -> None:
    with pytest.raises(ConfigError, match=r"--out is required.*--config"):
        training_job({"source": "table"})


def test_a_file_may_leave_to_the_command_line_what_it_says(tmp_path: Path) -> None:
    job = training_job({"source": "t", "out": "o"}, path=written(tmp_path, "[train]\nseed = 3\n"))
    assert (job.source, job.seed) == ("t", 3)


def test_the_folder_of_models_says_where_bundles_are(tmp_path: Path) -> None:
    text = (
        '[train]\nsource = "t"\n[embed]\nsource = "t"\ndestination = "d"\n'
        '[refresh]\nmodels = "models"\n'
    )
    job = refresh_job(written(tmp_path, text))
    assert job.models == str(tmp_path / "models")
    assert job.embed.bundle == str(tmp_path / "models" / "production")


def test_a_refresh_needs_all_three_tables(tmp_path: Path) -> None:
    path = written(tmp_path, TRAIN + '[refresh]\nmodels = "m"\n')
    with pytest.raises(ConfigError, match=r"must have a table \[embed\], found none"):
        refresh_job(path)


FLOW = '[flow]\nrunner = "dask"\ndask_address = "tcp://file:1"\n'


@pytest.mark.parametrize(
    ("given", "environment", "address"),
    [
        ({"dask_address": "tcp://option:1"}, "tcp://environment:1", "tcp://option:1"),
        ({}, "tcp://environment:1", "tcp://environment:1"),
        ({}, None, "tcp://file:1"),
    ],
)
def test_the_cluster_is_that_of_option_environment_file_in_this_order(
    given: dict[str, str],
    environment: str | None,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    if environment:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", environment)
    settings = flow_settings(given, path=written(tmp_path, FLOW))
    assert (settings.runner, settings.dask_address) == ("dask", address)


def test_a_cluster_without_the_runner_dask_is_a_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--dask-address needs --runner dask, found threads"):
        flow_settings({"dask_address": "tcp://a:1"}, path=written(tmp_path, TRAIN))


def test_the_project_file_of_the_documentation_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
    example = page.split("## Project file")[1].split("```toml\n")[1].split("```")[0]
    job = refresh_job(written(tmp_path, example))
    assert job.train.columns["terminal"].kind == "category"
