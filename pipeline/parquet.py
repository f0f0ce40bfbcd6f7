"""Opening Parquet files: the settings we read with, and the seam where Arrow's errors end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem

from pipeline.errors import DataError, StoreError
from pipeline.files import File, open_file
from pipeline.object_file import CACHE

# Bytes read ahead of every column on disk, and in a store: of all together, and the bounds of one.
BUFFER = 2**16
_STORE_BUFFERS = 2**26
_STORE_LEAST = 2**18
_STORE_MOST = 2**22
_MAGIC = (b"PAR1", b"PARE")
_HEAD = 64
# Footers of files that hold the like differ by a few numbers.
_JOINT, _MOST_JOINED, _NEAR = b"PAR1PAR1", 33, 2**11
_SMALL = 2**17
_CHECKSUM_FIELD = 0x15

_DISK = LocalFileSystem()


class Footer(NamedTuple):
    """What a file says of itself.

    `schema` lacks what the file's writer noted; `checksums` tells whether its first page has one.
    """

    metadata: pq.FileMetaData
    schema: pa.Schema
    checksums: bool


def read_footer(file: File) -> Footer:
    """The footer of `file`.

    Raises:
        DataError: if it is no Parquet file.
    """
    try:
        with open_file(file, block=BUFFER) as opened:
            # Arrow reads from the end and never looks at the head, where the first page follows.
            head = opened.read_at(_HEAD, 0)
            # A third cheaper than opening the file where there are thousands of columns.
            metadata = pq.read_metadata(opened)
            if head[:4] not in _MAGIC:
                raise ValueError("it does not begin as Parquet does")
            if not file.etag and _is_joined(opened):
                raise ValueError("it is several files written one after the other")
            # `metadata.schema` would refer back to its metadata: a cycle, 30 KB of each footer that
            # only the garbage collector frees, and four hundred megabytes of ten thousand files.
            schema = pq.ParquetSchema(metadata).to_arrow_schema().remove_metadata()
            checked = metadata.num_rows == 0 or has_checksum(head[4:])
            return Footer(metadata, schema, checked)
    except Exception as error:
        raise unreadable(file.path, error) from None


def _is_joined(file: pa.NativeFile) -> bool:
    """Whether the file is several of one size, written one after the other.

    What ``cat`` makes of such days reads as the first one; other sizes do not read at all.
    """
    size = file.size()
    if size <= _SMALL:
        return _JOINT in file.read_at(size, 0)
    middles = (size // count for count in range(2, _MOST_JOINED))
    return any(_JOINT in file.read_at(2 * _NEAR, max(0, at - _NEAR)) for at in middles)


def has_checksum(page: bytes) -> bool:
    """Whether the header at the start of `page` has the optional field that follows three sizes.

    A header is a struct in Thrift's compact protocol: every field is one byte that names it and,
    if it is an integer, bytes of which all but the last have the highest bit set.
    """
    at = 0
    for _ in range(3):
        at += 1
        while page[at : at + 1] >= b"\x80":
            at += 1
        at += 1
    return page[at : at + 1] == bytes([_CHECKSUM_FIELD])


def read_ahead(file: File, columns: int) -> int:
    """Bytes that a reader of so many columns holds of what it has not decoded yet."""
    return columns * _buffer_bytes(file, columns) + (CACHE if file.stored else 0)


def _buffer_bytes(file: File, columns: int) -> int:
    """Bytes read ahead of each column: much from a store, where every request waits."""
    if not file.stored:
        return BUFFER
    return min(max(_STORE_BUFFERS // max(1, columns), _STORE_LEAST), _STORE_MOST)


def open_parquet(file: File, *, columns: int, dictionary: Sequence[str] = ()) -> pq.ParquetFile:
    """The Parquet file `file`, checked page by page as `columns` of its columns are read.

    Raises:
        DataError: if it is no Parquet file.
    """
    # No memory map: a file that shrinks while mapped kills the process. No pre-buffer: it would
    # hold whole column chunks, where a small buffer per column does. Checksums: without them a
    # flipped bit reads as a wrong number.
    try:
        return pq.ParquetFile(
            open_file(file) if file.stored else file.path,
            filesystem=None if file.stored else _DISK,
            read_dictionary=list(dictionary) or None,
            memory_map=False,
            pre_buffer=False,
            buffer_size=_buffer_bytes(file, columns),
            page_checksum_verification=True,
        )
    except Exception as error:
        raise unreadable(file.path, error) from None


def unreadable(path: str, error: Exception) -> DataError | StoreError:
    """The error to raise for whatever Arrow raised while reading `path`."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, StoreError):
        return error
    if isinstance(error, OSError) and reason.startswith(path):
        return DataError(reason)
    if isinstance(error, MemoryError):
        return DataError(
            f"{path} needs more memory than this process may have ({reason}); "
            "allow more, or write it in smaller row groups and pages"
        )
    if isinstance(error, FileNotFoundError | PermissionError):
        return DataError(f"{path} cannot be read: {error.strerror or reason}")
    if "decrypt" in reason:
        return DataError(f"{path} must be readable without a key, found it encrypted; decrypt it")
    if "not supported" in reason or "Unsupported" in reason:
        return DataError(
            f"{path} must be in a form that Arrow reads, found another ({reason}); write it again, "
            "compressed with zstd or snappy"
        )
    return DataError(f"{path} cannot be read: it is truncated, damaged or not Parquet ({reason})")
