"""Whatever the store's client raises becomes one line that says what to do and holds no secret."""

from __future__ import annotations

import sys

import pytest

from pipeline.errors import ConfigError, StoreError
from pipeline.locations import S3Location
from pipeline.store_client import _connect, connect
from pipeline.store_errors import ChangedError, translated

HERE = S3Location("lake", "tables/x y.parquet")


def said(status: int, code: str = "") -> Exception:
    body = f"<Error><Code>{code}</Code><Message>CANARY</Message></Error>" if code else ""
    return RuntimeError(
        "Generic S3 error: Error performing GET https://store/lake/x?X-Amz-Signature=CANARY in 1ms "
        f"- Server returned non-2xx status code: {status} Whatever: {body}\n\nDebug source:\nCANARY"
    )


@pytest.mark.parametrize(
    ("error", "type_", "text"),
    [
        (said(404, "NoSuchBucket"), FileNotFoundError, "there is no bucket lake at AWS S3"),
        (FileNotFoundError("Object at location x not found"), FileNotFoundError, "does not exist"),
        (said(403, "SignatureDoesNotMatch"), PermissionError, "refused (403 SignatureDoesNot"),
        (said(403), PermissionError, "refused (403); check AWS_ACCESS_KEY_ID"),
        (said(400, "ExpiredToken"), PermissionError, "refused (400 ExpiredToken)"),
        (said(301, "PermanentRedirect"), PermissionError, "set AWS_REGION"),
        (said(400, "AuthorizationHeaderMalformed"), PermissionError, "set AWS_REGION"),
        (said(412, "PreconditionFailed"), ChangedError, "was replaced meanwhile"),
        (said(503, "SlowDown"), StoreError, "does not answer (503 SlowDown)"),
        (said(429), StoreError, "does not answer (429)"),
        (RuntimeError("HTTP error: error sending request CANARY"), StoreError, "(no connection)"),
        (RuntimeError("HTTP error: x\nkind: Timeout,"), StoreError, "(no answer in time)"),
        (
            RuntimeError("Error performing PUT http://169.254.169.254/latest CANARY"),
            PermissionError,
            "needs credentials, found none",
        ),
        (said(400, "EntityTooLarge"), OSError, "the store refused a request (400 EntityTooLarge)"),
        (type("PanicException", (BaseException,), {})("CANARY"), OSError, "(PanicException)"),
    ],
)
def test_errors_are_told_by_kind_and_code(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, type_: type[OSError], text: str
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    found = translated(error, HERE)
    assert type(found) is type_
    assert text in str(found)
    assert str(HERE) in str(found)
    assert "CANARY" not in str(found)
    assert "\n" not in str(found)


def test_a_missing_client_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    _connect.cache_clear()
    with pytest.raises(ConfigError, match=r"parquet2vec\[s3\]"):
        connect("lake", 32)
    _connect.cache_clear()
