"""What may name a place, what may not, and that no name leads out of its folder."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.locations import S3Location, locate, redacted, require_run_id

SECRET = "canary5ecret"

ANY_TEXT = st.text(max_size=80)
ODD_NAMES = st.one_of(
    ANY_TEXT,
    st.text(alphabet="./\\a:%\0\n~", max_size=12),
    st.sampled_from(["..", ".", "", "../..", "/etc", "a/../..", "..\\..", "C:\\x", "%2e%2e", "-"]),
)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("features", Path("features")),
        ("../features/day=2026-01-01 10:00", Path("../features/day=2026-01-01 10:00")),
        ("/data/a b/ø☃", Path("/data/a b/ø☃")),
        ("./run:1", Path("run:1")),
        (r"C:\data\features", Path(r"C:\data\features")),
        ("file:///data/features", Path("/data/features")),
        (Path("features"), Path("features")),
        ("s3://lake", S3Location("lake", "")),
        ("s3://lake/", S3Location("lake", "")),
        ("s3://my.lake-1/a/b c/d=ø", S3Location("my.lake-1", "a/b c/d=ø")),
        ("s3://lake/a/", S3Location("lake", "a")),
    ],
)
def test_a_path_or_a_url_names_its_place(text: str | Path, place: Path | S3Location) -> None:
    assert locate(text) == place


@pytest.mark.parametrize(
    "scheme",
    [
        "http",
        "https",
        "ftp",
        "gs",
        "hdfs",
        "abfs",
        "data",
        "jar",
        "S3",
        "S3A",
        "s3a",
        "s3n",
        "FILE",
    ],
)
@pytest.mark.parametrize("separator", [":", ":/", "://"])
def test_another_scheme_is_refused_with_the_list_of_ours(scheme: str, separator: str) -> None:
    with pytest.raises(ConfigError, match="local path, file:///absolute/path or s3://bucket/key"):
        locate(f"{scheme}{separator}user:{SECRET}@host/key?token={SECRET}")


@pytest.mark.parametrize(
    "text",
    [
        f"s3://AKIA123:{SECRET}@lake/key",
        f"s3://AKIA123:{SECRET[:5]}/{SECRET[5:]}@lake/key",
        f"s3://{SECRET}@lake/key",
        f"s3://lake/key?endpoint_override=http://127.0.0.1:9&secret_key={SECRET}",
        f"s3://lake?access_key={SECRET}",
        f"s3://lake/key#{SECRET}",
        f"s3://lake:{SECRET}/key",
        f"AKIAIOSFODNN7EXAMPLE:{SECRET}@lake/key",
        f"https://user:{SECRET}@host/key?x={SECRET}",
        f" s3://key:{SECRET}@lake/key",
        f"file://user:{SECRET}@host/key",
        f"file:///data?{SECRET}",
        f"s3://key:{SECRET}@lake/\x1b[2J",
        f"s3://lake/a?\x00{SECRET}",
    ],
)
def test_a_refusal_repeats_no_credentials_and_no_query(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        locate(text)
    assert SECRET not in str(refused.value)
    assert "AKIA" not in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "s3://",
        "s3:///key",
        "s3://ab/key",
        "s3://Lake/key",
        "s3://la_ke/key",
        "s3://la..ke/key",
        "s3://127.0.0.1/key",
        "s3://[::1]/key",
        "s3://lake:9000/key",
        "s3://-lake/key",
        "s3://lake\n/key",
        "s3://lake/a/../b",
        "s3://lake/..",
        "s3://lake/./a",
        "s3://lake//a",
        "s3://lake/a//b",
        "s3://lake/a//",
        "s3://lake/a\\..\\b",
        "s3://lake/%2e%2e/a",
        "s3://lake/a%00",
        "s3://lake/a\u2028b",
        "s3://lake/" + "k" * 1025,
        "s3://%6cake/a",
        "file://relative",
        "file://localhost/data",
        "file:///data/../etc",
        "file:///data/%2e%2e/etc",
        "data\0",
        "data\x1b[2J",
        "s3:lake/key",
        "s3:/lake/key",
    ],
)
def test_anything_in_a_url_but_a_plain_place_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        locate(text)


def test_a_url_that_went_through_a_path_is_refused() -> None:
    with pytest.raises(ConfigError, match="pass a str"):
        locate(Path("s3://lake/key"))


@given(ANY_TEXT)
@example("s3://lake/a/../b")
def test_every_text_is_a_place_or_refused(text: str) -> None:
    for given_text in (text, f"s3://{text}", f"s3://lake/{text}", f"file://{text}"):
        try:
            place = locate(given_text)
        except ConfigError as refused:
            assert str(refused).isprintable()
            continue
        if isinstance(place, S3Location):
            assert not set(place.key.split("/")) & {".", ".."}
            assert locate(str(place)) == place


@given(st.lists(ODD_NAMES, min_size=1, max_size=4))
def test_joined_names_stay_below_their_location(names: list[str]) -> None:
    root = S3Location("lake", "tables/flights")
    try:
        place = root.join(*names)
    except ConfigError:
        return
    assert place.bucket == root.bucket
    assert place.key.startswith(root.key + "/")
    assert not set(place.key.split("/")) & {"", ".", ".."}


def test_joining_names_the_last_part() -> None:
    place = S3Location("lake").join("a", "day=1/b.parquet")
    assert (str(place), place.name) == ("s3://lake/a/day=1/b.parquet", "b.parquet")


@given(ODD_NAMES)
@example("a\n")
@example("..")
def test_a_run_id_stays_in_its_folder(name: str) -> None:
    root = Path("/destination/versions")
    try:
        accepted = require_run_id(name)
    except ConfigError as refused:
        assert str(refused).isprintable()
        return
    inside = Path((root / accepted).as_posix())
    assert (inside.parent, inside.name) == (root, name)


@pytest.mark.parametrize("run_id", ["a", "3f2a9c0d", "2026-01-01_x.y", "x" * 64])
def test_a_plain_run_id_is_taken(run_id: str) -> None:
    assert require_run_id(run_id) == run_id


@pytest.mark.parametrize(
    "run_id", ["", ".", "..", ".hidden", "a/b", "a\\b", "a\n", "ü", "x" * 65, "a b", "../a", "%2e"]
)
def test_any_other_run_id_is_refused(run_id: str) -> None:
    with pytest.raises(ConfigError, match="run id"):
        require_run_id(run_id)


PLAIN = st.text(alphabet="abcXYZ019/:?#@&=+%", min_size=1, max_size=20)


@given(st.sampled_from(["s3", "postgresql+asyncpg"]), PLAIN, PLAIN)
def test_redaction_leaves_no_password_and_no_query(scheme: str, user: str, password: str) -> None:
    marked = f"{password}{SECRET}"
    text = f"cannot open '{scheme}://u{user}:{marked}@host/key?token={SECRET}' today"
    clean = redacted(text)
    assert SECRET not in clean
    assert clean.startswith(f"cannot open '{scheme}://***@host/key?***")
    assert clean.endswith(" today")
    assert redacted(clean) == clean


@pytest.mark.parametrize(
    "text",
    [
        "s3://lake/key is missing; is it s3://lake/keys?",
        "column 'a@b' must be number: found 'x:y@z'",
        "tcp://scheduler:8786",
        r"C:\data, c:/data/x:y@z",
        "s3://lake/day=1/a@b.parquet is damaged",
    ],
)
def test_redaction_leaves_everything_else(text: str) -> None:
    assert redacted(text) == text


def test_redaction_takes_no_longer_than_its_text() -> None:
    long = "a" * 200_000 + "s3://" + ":" * 200_000
    assert redacted(long) == long
