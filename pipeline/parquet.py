"""Opening Parquet files: the settings we read with, and the seam where Arrow's errors end."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DataError

# Bytes read ahead of every column.
BUFFER = 2**16


def read_footer(path: str) -> tuple[pq.FileMetaData, pa.Schema]:
    """The metadata of the file at `path`, and its columns without what their writer noted.

    Raises:
        DataError: if it is no Parquet file.
    """
    try:
        # A third cheaper than opening the file where there are thousands of columns.
        metadata = pq.read_metadata(path, memory_map=False)
        return metadata, metadata.schema.to_arrow_schema().remove_metadata()
    except Exception as error:
        raise unreadable(path, error) from None


def open_parquet(path: str, *, dictionary: Sequence[str] = ()) -> pq.ParquetFile:
    """The Parquet file at `path`, checked page by page as it is read.

    Raises:
        DataError: if it is no Parquet file.
    """
    # No memory map: a file that shrinks while mapped kills the process. No pre-buffer: it would
    # hold whole column chunks, where a small buffer per column does. Checksums: without them a
    # flipped bit reads as a wrong number.
    try:
        return pq.ParquetFile(
            path,
            read_dictionary=list(dictionary) or None,
            memory_map=False,
            pre_buffer=False,
            buffer_size=BUFFER,
            page_checksum_verification=True,
        )
    except Exception as error:
        raise unreadable(path, error) from None


def unreadable(path: str, error: Exception) -> DataError:
    """The error to raise for whatever Arrow raised while reading `path`."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DataError(f"{path} cannot be read: it is truncated, damaged or not Parquet ({reason})")
