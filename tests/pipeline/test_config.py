from pathlib import Path

import pytest

from pipeline.config import EmbeddingJob, load_toml, parse, parse_bytes
from pipeline.errors import ConfigError

JOB = {"bundle": "b", "source": "s", "destination": "d"}


def test_an_unknown_field_is_refused_with_its_path() -> None:
    with pytest.raises(ConfigError, match=r"\$\.embed\.treads: unknown field"):
        parse(EmbeddingJob, JOB | {"treads": 2}, where="$.embed")


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"threads.*memory"):
        parse(EmbeddingJob, JOB | {"threads": 0, "memory": "lots"})


def test_a_job_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse(EmbeddingJob, JOB).threads = 3  # type: ignore[misc]


@pytest.mark.parametrize("field", ["bundle", "source", "destination"])
@pytest.mark.parametrize(
    "url", ["https://u:hunter2@host/t", "s3://k:hunter2@lake/t", "s3://lake/t?secret=hunter2"]
)
def test_a_wrong_location_is_named_by_its_path_and_not_repeated(field: str, url: str) -> None:
    with pytest.raises(ConfigError, match=rf"\$\.embed\.{field}: ") as caught:
        parse(EmbeddingJob, JOB | {field: url}, where="$.embed")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ValueError, match=field) as raw:
        EmbeddingJob.model_validate(JOB | {field: url})
    assert "hunter2" not in str(raw.value)


def test_a_secret_in_a_field_that_is_no_location_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match=r"dtype: .* found 's3://\*\*\*@lake/t'") as caught:
        parse(EmbeddingJob, JOB | {"dtype": "s3://key:hunter2@lake/t"})
    assert "hunter2" not in str(caught.value)


def test_one_place_has_one_name() -> None:
    job = parse(EmbeddingJob, JOB | {"source": "file:///data/t", "destination": "s3://lake/t/"})
    assert (job.bundle, job.source, job.destination) == ("b", "/data/t", "s3://lake/t")


@pytest.mark.parametrize("text", ["2", "GB", "-1GB", "1 TB", "1GBx"])
def test_a_size_without_number_or_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="2GB"):
        parse_bytes(text)


@pytest.mark.parametrize("content", [b"a = ", b"\xff\xfe"])
def test_a_broken_configuration_names_its_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"broken\.toml"):
        load_toml(path)


def test_a_missing_configuration_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        load_toml(tmp_path / "nowhere.toml")
