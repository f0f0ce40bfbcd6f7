"""Where things are: a local path or ``s3://bucket/key``, and names that cannot lead elsewhere.

Whatever a user writes as bundle, source or destination goes through `locate`; whatever becomes a
name below a destination goes through `require_run_id` or `S3Location.join`. A location holds no
credentials and no endpoint: those come from the environment only.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeAlias

from pipeline.errors import ConfigError

# Names below a folder of models that lead to one of its versions.
PRODUCTION, CANDIDATE = "production", "candidate"
ALIASES = (PRODUCTION, CANDIDATE)

SUPPORTED = "a local path, file:///absolute/path or s3://bucket/key"

# One letter before the colon is a Windows drive, and so a path.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY_BYTES = 1024
_RUN_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")

# Path() makes one slash of the two.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{1,31}:/+)(\S+)")


@dataclass(frozen=True)
class S3Location:
    """An object, or a prefix of objects, in a bucket; `key` has no slash at either end.

    >>> S3Location("lake", "tables").join("day=1", "a.parquet")
    S3Location(bucket='lake', key='tables/day=1/a.parquet')
    """

    bucket: str
    key: str = ""

    def __post_init__(self) -> None:
        _require_bucket(self.bucket)
        _require_key(self.key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}".rstrip("/")

    @property
    def name(self) -> str:
        """The last part of the key; empty for a bucket."""
        return self.key.rpartition("/")[2]

    def join(self, *names: str) -> S3Location:
        """The location of `names` below this one.

        Raises:
            ConfigError: if a name is empty or would lead elsewhere.
        """
        for name in names:
            if not name:
                raise ConfigError("a name in an object store must not be empty")
        return S3Location(self.bucket, "/".join([self.key, *names] if self.key else names))


Location: TypeAlias = Path | S3Location


def locate(text: str | Path) -> Location:
    """The place that `text` names; nothing is looked up.

    Raises:
        ConfigError: if it is none of the forms supported. The message repeats no credentials.

    >>> locate("s3://lake/tables/flights/")
    S3Location(bucket='lake', key='tables/flights')
    >>> str(locate("file:///data/flights"))
    '/data/flights'
    >>> locate("s3://key:secret@lake/tables")
    Traceback (most recent call last):
    ...
    pipeline.errors.ConfigError: an s3:// URL must hold a bucket and a key only, found credentials \
or a port; set them in the environment, AWS_ENDPOINT_URL for the address
    """
    if isinstance(text, Path):
        return _local_path(text)
    if not text.strip():
        raise ConfigError(f"a location must be {SUPPORTED}, found an empty text; name one")
    _require_no_control_characters(text, "a location")
    scheme = _SCHEME.match(text)
    if scheme is None and "://" not in text:
        return Path(text)
    if text.startswith("s3://"):
        return _s3(text.removeprefix("s3://"))
    if text.startswith("file://"):
        return _file(text.removeprefix("file://"))
    raise ConfigError(f"a location must be {SUPPORTED}, found {_form(text)}")


def require_run_id(text: str) -> str:
    """`text` itself, if it can name a version.

    Raises:
        ConfigError: unless it is 1 to 64 of ``A-Z a-z 0-9 _ . -`` and does not begin with a dot.

    >>> require_run_id("3f2a9c")
    '3f2a9c'
    """
    if _RUN_ID.fullmatch(text) is None:
        raise ConfigError(
            "a run id must be 1 to 64 letters, digits, '_', '-' or '.', not beginning with a dot, "
            f"found {_quoted(text)}; `parquet2vec inspect DEST` lists them"
        )
    return text


def is_run_id(text: str) -> bool:
    """Whether `text` can name a version."""
    return _RUN_ID.fullmatch(text) is not None


def redacted(text: str) -> str:
    """`text` without the user names, passwords and queries of the URLs in it.

    >>> redacted("cannot open s3://key:se/cret@lake/t?token=1: refused")
    'cannot open s3://***@lake/t?*** refused'
    """
    return _URL.sub(lambda url: url[1] + _without_secrets(url[2]), text)


def _local_path(path: Path) -> Path:
    _require_no_control_characters(str(path), "a location")
    scheme = _SCHEME.match(str(path))
    if scheme is not None and str(path)[scheme.end() :].startswith("/"):
        raise ConfigError("a URL must be given as text, found it as a Path; pass a str")
    return path


def _s3(rest: str) -> S3Location:
    bucket, _, key = rest.partition("/")
    # Before anything is quoted: what follows an @ or a ? must not be repeated.
    if "@" in rest or ":" in bucket:
        raise ConfigError(
            "an s3:// URL must hold a bucket and a key only, found credentials or a port; "
            "set them in the environment, AWS_ENDPOINT_URL for the address"
        )
    _require_no_extras(rest, "an s3:// URL")
    return S3Location(bucket, key.removesuffix("/"))


def _file(rest: str) -> Path:
    if "@" in rest.partition("/")[0] or not rest.startswith("/"):
        raise ConfigError("a file:// URL must be file:///absolute/path, found a host in it")
    _require_no_extras(rest, "a file:// URL")
    if ".." in rest.split("/"):
        raise ConfigError("a file:// URL must not hold '..', found one; write the path it means")
    return Path(rest)


def _require_no_extras(rest: str, what: str) -> None:
    for character, meaning in (("?", "a query"), ("#", "a fragment"), ("%", "percent-encoding")):
        if character in rest:
            raise ConfigError(f"{what} must be plain, found {meaning}; leave out the {character!r}")


def _require_bucket(bucket: str) -> None:
    if _BUCKET.fullmatch(bucket) is None or ".." in bucket or _is_address(bucket):
        raise ConfigError(
            "a bucket's name must be 3 to 63 lower-case letters, digits, '.' or '-', "
            f"found {_quoted(bucket)}; write s3://bucket/key"
        )


def _require_key(key: str) -> None:
    _require_no_control_characters(key, "a key in a bucket")
    parts = key.split("/") if key else []
    if any(part in ("", ".", "..") for part in parts) or "\\" in key:
        raise ConfigError(
            "a key in a bucket must be parts joined by single slashes, without '.', '..' or '\\', "
            f"found {_quoted(key)}"
        )
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise ConfigError("a key in a bucket must be UTF-8 text, found other bytes") from None
    if size > _KEY_BYTES:
        raise ConfigError(f"a key in a bucket must have {_KEY_BYTES} bytes at most, found {size}")


def _require_no_control_characters(text: str, what: str) -> None:
    if any(_is_control(character) for character in text):
        raise ConfigError(f"{what} must not hold control characters, found {_quoted(text)}")


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Zl", "Zp")


def _is_address(bucket: str) -> bool:
    try:
        IPv4Address(bucket)
    except ValueError:
        return False
    return True


def _form(text: str) -> str:
    """What `text` looks like, without repeating what may be a secret."""
    scheme = _SCHEME.match(text)
    if scheme is None or not text[scheme.end() :].startswith("//"):
        return "another form; put ./ before a local name that holds a colon"
    # An access key can stand where a scheme stands, but none is so short.
    name = f"{scheme[1]}://" if len(scheme[1]) < 12 else "another scheme"
    return f"{name}; copy the data to one of these"


def _without_secrets(rest: str) -> str:
    """What follows a URL's scheme; a password may hold any of ``@/?``, so the last @ counts."""
    user, at, place = rest.rpartition("@")
    if at and (":" in user or not any(character in user for character in "/?#")):
        return "***@" + _without_query(place)
    return _without_query(rest)


def _without_query(rest: str) -> str:
    query = re.search(r"[?#].", rest)
    return rest if query is None else rest[: query.start() + 1] + "***"


def _quoted(text: str) -> str:
    """`text` for a message: escaped, shortened, without credentials."""
    plain = redacted(text)
    return ascii(plain if len(plain) <= 80 else plain[:77] + "...")
