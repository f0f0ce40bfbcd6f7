"""The errors of the object store's client, told as errors of files with the object's address.

The client's own text is never repeated: it may hold signed requests.
"""

from __future__ import annotations

import re

from pipeline.errors import StoreError
from pipeline.locations import S3Location
from pipeline.store_settings import address

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_INVALID = re.compile(r'Path "([^"]*)"')
_OTHER_REGION = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint")
_REFUSED = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired")


class ChangedError(OSError):
    """An object is another one than when it was looked at."""


def translated(error: BaseException, location: S3Location) -> OSError:
    """The error to raise for whatever the client raised while it was asked for `location`."""
    text = str(error)
    status, code = _found(_STATUS, text), _found(_CODE, text)
    answer = f"{status} {code}".strip() or type(error).__name__
    if "169.254." in text or "redential" in text:
        return PermissionError(
            f"{location} needs credentials, found none; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if code == "NoSuchBucket":
        return FileNotFoundError(
            f"{location}: there is no bucket {location.bucket} at {address()}; create it, or check "
            "its name and AWS_ENDPOINT_URL"
        )
    if code in _OTHER_REGION or status == "301":
        return PermissionError(
            f"{location} lies in another region ({answer}); set AWS_REGION to the bucket's region"
        )
    if status in ("401", "403") or code in _REFUSED:
        return PermissionError(
            f"access to {location} was refused ({answer}); check AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and what they may do in this bucket"
        )
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(f"{location} does not exist; check the bucket and the key")
    if status == "412":
        return ChangedError(f"{location} was replaced meanwhile; run again when its writer is done")
    if (not status and "HTTP error" in text) or status.startswith("5") or status == "429":
        silent = "no answer in time" if "Timeout" in text else "no connection"
        return StoreError(
            f"{location}: {address()} cannot be reached or does not answer "
            f"({answer if status else silent}); check AWS_ENDPOINT_URL, run again later"
        )
    if type(error).__name__ == "InvalidPathError":
        return OSError(
            f"{location} holds an object whose key has an empty part or '..' "
            f"({_found(_INVALID, text)!a}); rename it or move it away"
        )
    return OSError(f"{location}: the store refused a request ({answer}); see its log")


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""
