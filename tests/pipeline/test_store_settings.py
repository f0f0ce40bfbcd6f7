"""How a store is reached: from the environment only, and never without a word in the clear."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.store_client import connect
from pipeline.store_settings import address, allows_http, from_profile


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ALLOW_HTTP", "AWS_PROFILE"),
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"),
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


@pytest.mark.parametrize(
    ("endpoint", "allowed"),
    [
        ("http://127.0.0.1:9000", True),
        ("http://localhost:9000", True),
        ("http://[::1]:9000", True),
        ("https://store.example", False),
    ],
)
def test_without_tls_only_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, allowed: bool
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    assert allows_http() is allowed


def test_without_tls_elsewhere_only_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://store.example:9000")
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL_S3 must be https://"):
        allows_http()
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    assert allows_http()


@pytest.mark.parametrize(
    "endpoint",
    ["127.0.0.1:9000", "https://key:CANARY@store.example", "ftp://store", "http://", "http://a:b"],
)
def test_an_endpoint_of_another_form_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL must be") as caught:
        allows_http()
    assert "CANARY" not in str(caught.value)


def test_messages_name_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    assert address() == "AWS S3"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://store.example:9000/")
    assert address() == "store.example:9000"


def test_a_profile_gives_what_the_environment_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert from_profile() == {}
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id=a\naws_secret_access_key=b%c\n"
        "[other]\naws_access_key_id=d\naws_secret_access_key=e\naws_session_token=f\n"
    )
    (tmp_path / "config").write_text("[default]\nregion=r\n[profile other]\nregion=q\n")
    keys = {"access_key_id": "a", "secret_access_key": "b%c"}
    assert from_profile() == {"region": "r"} | keys
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert from_profile()["session_token"] == "f"
    monkeypatch.setenv("AWS_REGION", "z")
    assert "region" not in from_profile()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    assert from_profile() == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found no 'mine'"),
        ("[profile mine]\nsso_session=s\n", "export-credentials --profile mine"),
        ("no section\n", "cannot be read as a file of the AWS tools"),
    ],
)
def test_a_profile_that_cannot_be_used_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, said: str
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    (tmp_path / "config").write_text(text)
    with pytest.raises(ConfigError, match=said):
        from_profile()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": "a"}, "AWS_ACCESS_KEY_ID needs AWS_SECRET_ACCESS_KEY"),
        ({"AWS_SECRET_ACCESS_KEY": "CANARY"}, "AWS_SECRET_ACCESS_KEY needs AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "CANARY\n"}, "must be one word"),
        ({"AWS_SESSION_TOKEN": "CANARY x"}, "AWS_SESSION_TOKEN must be one word"),
        ({"AWS_S3_EXPRESS": "perhaps"}, "an AWS_ setting cannot be used"),
    ],
)
def test_settings_that_cannot_be_used_are_told_without_their_values(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], said: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said) as caught:
        connect("lake", 32)
    assert "CANARY" not in str(caught.value)
