"""Objects in an S3 store: the only module that talks to one, and where the client's errors end.

Every function makes one kind of request. Requests that the store did not answer are tried again for
half a minute. What still fails is raised as an `OSError` that names ``s3://bucket/key`` and what to
do: `FileNotFoundError`, `PermissionError`, `ChangedError`, `StoreError`, or plain.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import ConfigError, PublishError, StoreError
from pipeline.locations import S3Location
from pipeline.store_client import connect
from pipeline.store_errors import translated

if TYPE_CHECKING:
    from obstore import Bytes as Buffer
    from obstore.store import S3Store

_T = TypeVar("_T")

# A request may take this long, and one that carries an object longer: at this rate at the least.
_SECONDS = 32
_BYTES_PER_SECOND = 2**18
_CHUNK = 2**23
_LISTED = 1_000


@dataclass(frozen=True)
class ObjectFacts:
    """An object as the store describes it; `etag` changes when its bytes do."""

    location: S3Location
    bytes: int
    etag: str
    modified: datetime | None = None


def head(location: S3Location) -> ObjectFacts:
    """What the store says of an object.

    Raises:
        OSError: as told at the top of this module.
    """
    return _facts(location, _request(location, lambda store: store.head(location.key)))


def metadata(location: S3Location) -> tuple[ObjectFacts, dict[str, str]]:
    """What the store says of an object, and what its writer noted beside it."""
    found = _request(location, lambda store: store.get(location.key, options={"head": True}))
    noted = {str(name): str(value) for name, value in found.attributes.items()}
    return _facts(location, found.meta), noted


def read(location: S3Location) -> bytes:
    """The bytes of a small object."""
    return _request(location, lambda store: bytes(store.get(location.key).bytes()))


def create(location: S3Location, data: bytes) -> bool:
    """Put a small object where there is none; False if there is one, which stays as it is.

    Of all who try, one succeeds: everything that must be decided once is decided by this. One who
    gets no answer and tries again may find its own object.
    """
    return _create(location, data, {}, seconds=_SECONDS)


def require_single(location: S3Location, data: bytes) -> None:
    """Make sure that there is an object, and that the store refuses to create it once more.

    Raises:
        PublishError: if the store replaces it.
    """
    if create(location, data) and create(location, data):
        raise PublishError(
            f"{location} must be in a store that creates an object only once (If-None-Match: *), "
            "found one that replaces it: two runs could destroy each other's work; publish to a "
            "disk, or use another store"
        )


def upload(path: Path, location: S3Location, noted: dict[str, str]) -> bool:
    """Put the file at `path` where there is no object, with notes beside it; False if there is one.

    One request, whatever the size: the object appears whole, and no half of one stays behind. The
    file is mapped and not read, so that it takes no memory that the kernel cannot have back.
    """
    size = path.stat().st_size
    if size == 0:
        return _create(location, b"", noted, seconds=_SECONDS)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return _create(location, mapped, noted, seconds=_patience(size))


def write(location: S3Location, data: bytes) -> None:
    """Put a small object, whatever was there."""
    _request(location, lambda store: store.put(location.key, data, use_multipart=False))


def copy(source: S3Location, target: S3Location) -> None:
    """Copy an object, with what is noted beside it, inside the store."""
    _request(source, lambda store: store.copy(source.key, target.key))


def delete(locations: Iterable[S3Location]) -> None:
    """Delete objects of one bucket; those that are not there are no error."""
    found = list(locations)
    for start in range(0, len(found), _LISTED):
        _delete(found[start : start + _LISTED])


def listed(prefix: S3Location) -> Iterator[ObjectFacts]:
    """All objects below `prefix`, in no order; the markers of empty folders are left out."""
    stream = _request(prefix, lambda store: store.list(prefix.key or None, chunk_size=_LISTED))
    while chunk := _request(prefix, lambda _: next(stream, None)):
        for found in chunk:
            if found["size"] or not _is_marker(found["path"], prefix):
                yield _facts(_location(prefix, found["path"]), found)


def children(prefix: S3Location) -> list[str]:
    """Names of objects, and of what has objects below it, one level below `prefix`, sorted."""
    found = _request(prefix, lambda store: store.list_with_delimiter(prefix.key or None))
    paths = [*found["common_prefixes"], *(one["path"] for one in found["objects"])]
    return sorted({path.rpartition("/")[2] for path in paths if path != prefix.key})


def read_range(facts: ObjectFacts, start: int, stop: int) -> Buffer:
    """Bytes of an object from `start` up to `stop`, if it is still the one that was seen.

    Raises:
        ChangedError: if it was replaced since.
    """
    asked: Any = {"range": (start, stop), "if_match": facts.etag}
    key, seconds = facts.location.key, _patience(stop - start)
    return _request(
        facts.location, lambda store: store.get(key, options=asked).bytes(), seconds=seconds
    )


def chunks(facts: ObjectFacts) -> Iterator[Buffer]:
    """The bytes of a large object, a few mebibytes at a time, all of the object as it was seen."""
    for start in range(0, facts.bytes, _CHUNK):
        yield read_range(facts, start, min(start + _CHUNK, facts.bytes))


def sha256_of(facts: ObjectFacts) -> str:
    """SHA-256 of the bytes of an object, as hexadecimal text."""
    digest = hashlib.sha256()
    for data in chunks(facts):
        digest.update(data)
    return digest.hexdigest()


def _delete(locations: list[S3Location]) -> None:
    keys = [location.key for location in locations]
    try:
        _request(locations[0], lambda store: store.delete(keys))
    except StoreError:
        raise
    except OSError:
        # Two who delete the same at the same time: Ceph refuses one of them the whole batch.
        for location in locations:
            _delete_one(location)


def _delete_one(location: S3Location) -> None:
    try:
        _request(location, lambda store: store.delete(location.key))
    except StoreError:
        raise
    except OSError:
        if _exists(location):
            raise


def _exists(location: S3Location) -> bool:
    try:
        head(location)
    except FileNotFoundError:
        return False
    return True


def _create(location: S3Location, data: Any, noted: dict[str, str], *, seconds: int) -> bool:
    from obstore.exceptions import AlreadyExistsError

    def put(store: S3Store) -> bool:
        try:
            store.put(location.key, data, mode="create", use_multipart=False, attributes=noted)
        except AlreadyExistsError:
            return False
        return True

    return _request(location, put, seconds=seconds)


def _request(location: S3Location, ask: Callable[[S3Store], _T], *, seconds: int = _SECONDS) -> _T:
    """What `ask` gets from the store that holds `location`; every request passes here."""
    store = connect(location.bucket, seconds)
    try:
        return ask(store)
    except BaseException as error:
        # What the client did not foresee is a panic of its own language, and no Exception.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise translated(error, location) from None
        raise


def _patience(size: int) -> int:
    """Seconds that a request for `size` bytes may take, rounded up so that clients are few."""
    needed = size // _BYTES_PER_SECOND
    return max(_SECONDS, 1 << needed.bit_length())


def _location(prefix: S3Location, key: str) -> S3Location:
    try:
        return S3Location(prefix.bucket, key)
    except ConfigError as error:
        raise OSError(f"{prefix} holds an object that cannot be named: {error}") from None


def _is_marker(path: str, prefix: S3Location) -> bool:
    return path == prefix.key or not path.endswith(".parquet")


def _facts(location: S3Location, found: Any) -> ObjectFacts:
    return ObjectFacts(location, found["size"], found["e_tag"] or "", found["last_modified"])
