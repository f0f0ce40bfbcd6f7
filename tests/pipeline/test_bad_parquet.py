"""Files that are not what they say: refused by name, or read to the bit; never a crash or a hang.

Every file is read in a child process, so that a crash is seen and not suffered. The files of a
folder named by PARQUET2VEC_BAD_PARQUET are tried as well, such as Apache's parquet-testing.
"""

import base64
import gzip
import io
import json
import os
import select
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet.encryption import (
    CryptoFactory,
    EncryptionConfiguration,
    KmsClient,
    KmsConnectionConfig,
)

from pipeline.errors import DataError, printable
from pipeline.shards import read_batches
from pipeline.source import open_source

SECONDS = 10
CODECS = ("none", "snappy", "zstd", "gzip", "lz4")
FOLDER = os.environ.get("PARQUET2VEC_BAD_PARQUET", "")

# Reads the files named on its standard input, one line for each: rows, or the refusal. A file that
# Arrow alone cannot read whole must be refused.
CHILD = """
import json, resource, sys
import pyarrow.parquet as pq
from pipeline.errors import Parquet2VecError
from pipeline.shards import read_batches
from pipeline.source import open_source

resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

def whole(path):
    try:
        with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
            return sum(batch.num_rows for batch in file.iter_batches(batch_size=1000))
    except Exception as error:
        return repr(error)

for line in sys.stdin:
    path = json.loads(line)
    try:
        source = open_source(path)
        names = source.arrow_schema.names
        found = {"rows": sum(batch.num_rows for batch in read_batches(source, columns=names))}
    except Parquet2VecError as error:
        found = {"refused": str(error)}
    except BaseException as error:
        found = {"foreign": repr(error)}
    print(json.dumps(found), flush=True)
    if "rows" in found:
        print(json.dumps(whole(path)), flush=True)
"""

Outcome = dict[str, object]


class Child:
    """A process that reads one file after the other; started again when one brings it down."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def read(self, path: Path) -> Outcome:
        process = self._process = self._process or _start()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{json.dumps(str(path))}\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], SECONDS)
        line = process.stdout.readline() if ready else ""
        if not line:
            self.stop()
            return {"died": process.returncode} if ready else {"hung": SECONDS}
        found: Outcome = json.loads(line)
        if "rows" in found:
            whole = process.stdout.readline()
            found["whole"] = json.loads(whole) if whole else "Arrow alone died of it"
            if not whole:
                self.stop()
        return found

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._process = None


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    started = Child()
    yield started
    started.stop()


def sample(rows: int = 2_000) -> pa.Table:
    random = np.random.default_rng(0)
    return pa.table(
        {
            "id": np.arange(rows),
            "f32": random.normal(size=rows).astype(np.float32),
            "f64": pa.array(random.normal(size=rows), mask=random.random(rows) < 0.1),
            "text": [f"k{i % 97}" for i in range(rows)],
            "list": random.normal(size=(rows, 3)).tolist(),
        }
    )


def written(table: pa.Table, **options: object) -> bytes:
    to = io.BytesIO()
    known = {"row_group_size": 500, "compression": "zstd", "write_page_checksum": True}
    pq.write_table(table, to, **(known | options))
    return to.getvalue()


def tail(data: bytes) -> int:
    """Bytes of the footer without its length and magic."""
    return int(struct.unpack("<I", data[-8:-4])[0])


def zeroed(data: bytes, start: int, count: int) -> bytes:
    return data[:start] + bytes(count) + data[start + count :]


def with_length(data: bytes, length: int) -> bytes:
    return data[:-8] + struct.pack("<I", length) + b"PAR1"


def broken() -> dict[str, bytes]:
    """Files of which none can be read whole."""
    good = written(sample())
    other = written(pa.table({"x": np.random.default_rng(1).normal(size=9_000)}))
    size, footer = len(good), tail(good)
    start = size - 8 - footer
    random = np.random.default_rng(2).bytes
    ipc = pa.BufferOutputStream()
    with pa.ipc.new_file(ipc, sample().schema) as writer:
        writer.write_table(sample())
    files = {f"cut at {n}": good[:n] for n in (0, 3, 4, 8, size // 10, size // 2, size * 9 // 10)}
    files |= {f"{n} bytes short": good[:-n] for n in (1, 4, 8, 9, footer, footer + 8)}
    files |= {
        f"footer of {n} bytes": with_length(good, n)
        for n in (0, 1, footer - 1, footer + 100, size, 2**31 - 1, 2**32 - 1)
    }
    files |= {
        "other magic at the end": good[:-4] + b"XXXX",
        "other magic at the head": b"XXXX" + good[4:],
        "encrypted magic": good[:-4] + b"PARE",
        "bytes after the end": good + b"\n",
        "footer of another file": good[:start] + other[-8 - tail(other) :],
        "footer of nothing": good[:start] + bytes(footer) + good[-8:],
        "footer of noise": good[:start] + random(footer) + good[-8:],
        "footer half zero": zeroed(good, start + footer // 2, footer // 2),
        "a lost block": zeroed(good, size // 2, 4_096),
        "a lost first block": zeroed(good, 4, 512),
        "a lost last block": zeroed(good, size - 4_096, 4_096),
        "pages of noise": b"PAR1" + random(start - 4) + good[start:],
        "pages moved by a byte": good[:4] + b"\0" + good[4:],
        "pages in reverse": b"PAR1" + good[4:start][::-1] + good[start:],
        "two files in one": good + good,
        "two other files in one": other + good,
        "CSV": b"a,b\n1,2\n" * 100,
        "a page of HTML": b"<!doctype html><title>403 Forbidden</title>",
        "JSON": b'{"a": 1}\n' * 100,
        "gzip": gzip.compress(good),
        "Arrow IPC": ipc.getvalue().to_pybytes(),
        "zeros": bytes(2**20),
        "noise": random(2**16),
        "magic only": b"PAR1PAR1",
        "magic around noise": b"PAR1" + random(5_000) + struct.pack("<I", 4_000) + b"PAR1",
        "a million times the magic": b"PAR1" * 2**20,
    }
    return files


BROKEN = broken()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_name(child: Child, tmp_path: Path, name: str) -> None:
    path = tmp_path / "broken file.parquet"
    path.write_bytes(BROKEN[name])
    found = child.read(path)
    assert list(found) == ["refused"], found
    assert "broken file.parquet" in str(found["refused"])


def with_codec(data: bytes, column: str, number: int) -> bytes:
    """The file with another number of a codec in the footer, at the last chunk of `column`."""
    name = column.encode()
    # In Thrift's compact protocol: a list of one text, the path; then the codec, zigzag.
    before = b"\x19\x18" + bytes([len(name)]) + name + b"\x15"
    at = data.rindex(before) + len(before)
    return data[:at] + bytes([2 * number]) + data[at + 1 :]


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5, 7, 63])
def test_a_wrong_codec_is_refused_by_name(child: Child, tmp_path: Path, number: int) -> None:
    path = tmp_path / "codec.parquet"
    path.write_bytes(with_codec(written(sample()), "f64", number))
    found = child.read(path)
    assert list(found) == ["refused"], found
    assert "codec.parquet" in str(found["refused"])
    assert ("zstd or snappy" in str(found["refused"])) == (number in (3, 63))


class Keys(KmsClient):
    """Keys that are wrapped by nothing."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        return base64.b64decode(wrapped_key)


@pytest.mark.parametrize("plaintext_footer", [True, False])
def test_an_encrypted_file_is_told_as_one(
    child: Child, tmp_path: Path, plaintext_footer: bool
) -> None:
    path, keys = tmp_path / "secret.parquet", CryptoFactory(lambda _: Keys())
    settings = EncryptionConfiguration(
        footer_key="f", column_keys={"k": ["f64"]}, plaintext_footer=plaintext_footer
    )
    properties = keys.file_encryption_properties(KmsConnectionConfig(), settings)
    with pq.ParquetWriter(path, sample().schema, encryption_properties=properties) as writer:
        writer.write_table(sample())
    found = str(child.read(path)["refused"])
    assert "secret.parquet must be readable without a key, found it encrypted" in found


NOTHING: dict[str, Callable[[pq.ParquetWriter], None]] = {
    "no row group": lambda writer: None,
    "an empty row group": lambda writer: writer.write_table(sample().slice(0, 0)),
    "two empty row groups": lambda writer: (
        writer.write_table(sample().slice(0, 0)),
        writer.write_table(sample().slice(0, 0)),
    )[0],
}


@pytest.mark.parametrize("name", NOTHING)
def test_a_file_without_rows_has_none(child: Child, tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.parquet"
    with pq.ParquetWriter(path, sample().schema) as writer:
        NOTHING[name](writer)
    assert child.read(path) == {"rows": 0, "whole": 0}


def test_a_good_file_is_read(child: Child, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(written(sample()))
    assert child.read(tmp_path / "x.parquet") == {"rows": 2_000, "whole": 2_000}


def flipped(data: bytes, random: np.random.Generator, stop: int) -> bytes:
    at, bit = int(random.integers(4, stop)), int(random.integers(8))
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def silent_flips(folder: Path, codec: str, *, count: int) -> int:
    """Bits flipped in pages that read as other values; whatever is refused names the file."""
    rows, random = sample(600), np.random.default_rng(3)
    good = written(rows, compression=codec, row_group_size=200)
    path, silent = folder / "flipped.parquet", 0
    for _ in range(count):
        path.write_bytes(flipped(good, random, len(good) - 8 - tail(good)))
        try:
            found = pa.Table.from_batches(
                read_batches(open_source(path), columns=rows.schema.names)
            )
        except DataError as error:
            assert "flipped.parquet" in str(error)
        else:
            silent += not found.equals(rows)
    return silent


@pytest.mark.parametrize("codec", CODECS)
def test_a_flipped_bit_in_a_page_never_reads_as_another_value(tmp_path: Path, codec: str) -> None:
    assert silent_flips(tmp_path, codec, count=12) == 0


@pytest.mark.chaos
@pytest.mark.parametrize("codec", CODECS)
def test_a_thousand_flipped_bits_never_read_as_other_values(tmp_path: Path, codec: str) -> None:
    assert silent_flips(tmp_path, codec, count=1_000) == 0


@pytest.mark.chaos
def test_a_thousand_flipped_bits_in_footers_bring_nothing_down(
    child: Child, tmp_path: Path
) -> None:
    good, random = written(sample()), np.random.default_rng(4)
    start, path = len(good) - 8 - tail(good), tmp_path / "flipped.parquet"
    for _ in range(1_000):
        path.write_bytes(good[:4] + flipped(b"PAR1" + good[start:], random, 4 + tail(good))[4:])
        found = child.read(path)
        assert next(iter(found)) in ("rows", "refused"), found


@pytest.mark.skipif(not FOLDER, reason="PARQUET2VEC_BAD_PARQUET names no folder of files to try")
def test_no_file_of_a_corpus_crashes_hangs_or_is_read_in_part(child: Child) -> None:
    files = [path for path in sorted(Path(FOLDER).rglob("*")) if path.is_file()]
    wrong = {}
    for path in files:
        found = child.read(path)
        said = str(found.get("refused", ""))
        kept = "rows" in found and found["rows"] == found["whole"]
        if not kept and printable(path.name) not in said:
            wrong[str(path)] = found
    assert files
    assert wrong == {}
