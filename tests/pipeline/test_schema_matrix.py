"""Two files of one table that disagree: the second is read to the bit, or refused by name."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Bundle, EmbeddingJob, Encoder, embed
from pipeline.errors import Parquet2VecError

BundleOf = Callable[..., Bundle]


@dataclass(frozen=True)
class Handled:
    """The table a bundle is made of, one that must read like `same`, and `same` itself."""

    trained: pa.Table
    found: pa.Table
    same: pa.Table


@dataclass(frozen=True)
class Refused:
    """The table a bundle is made of, one that must be refused, and what is said of it."""

    trained: pa.Table
    found: pa.Table
    said: str


def one(values: object, type_: pa.DataType | None = None) -> pa.Table:
    return pa.table({"x": pa.array(values, type_)})


def two(x: object, y: object) -> pa.Table:
    return pa.table({"x": x, "y": y})


def moments(unit: str, zone: str | None = None, values: tuple[int, ...] = (0, 10**9)) -> pa.Table:
    return one(values, pa.timestamp(unit, zone))


INTS, FLOATS, BIG = one([1, 2]), one([1.5, 2.5]), one([2**53 + 1, 2])
NARROW = one([1.5, 2.5], pa.float32())
TEXT = one(["a", "b", "a", "b"])
PAIRS = one([[1.0, 2.0], [3.0, 5.0]], pa.list_(pa.float32(), 2))
MICROS, ZONED = moments("us"), moments("us", "UTC")
CENTS = one([Decimal("1.23"), Decimal("4.56")], pa.decimal128(5, 2))

HANDLED = {
    "whole numbers, then fractions": Handled(INTS, FLOATS, FLOATS),
    "whole numbers, then whole fractions": Handled(INTS, one([1.0, 2.0]), INTS),
    "fractions, then whole numbers": Handled(FLOATS, INTS, one([1.0, 2.0])),
    "fractions, then numbers beyond 2^53": Handled(FLOATS, BIG, one([2.0**53, 2.0])),
    "int32, then int64": Handled(one([1, 2], pa.int32()), BIG, one([2.0**53, 2.0])),
    "float32, then float64": Handled(NARROW, one([0.1, 1e300]), one([0.1, 1e300])),
    "float16": Handled(FLOATS, one(np.array([1.5, 2.5], np.float16)), FLOATS),
    "decimals of another scale": Handled(
        CENTS, one([Decimal("1.2345")], pa.decimal128(9, 4)), one([1.2345])
    ),
    "a column more": Handled(INTS, two([1, 2], [[1], None]), INTS),
    "another order": Handled(
        two([1, 2], [10, 20]),
        two([1, 2], [30, 40]).select(["y", "x"]),
        two([1, 2], [30, 40]),
    ),
    "text as dictionary": Handled(TEXT, one(["a", "c"]).select(["x"]), one(["a", "c"])),
    "dictionary as text": Handled(one(TEXT["x"].dictionary_encode().combine_chunks()), TEXT, TEXT),
    "large text": Handled(TEXT, one(["a", "c"], pa.large_string()), one(["a", "c"])),
    "views of text": Handled(TEXT, one(["a", "c"], pa.string_view()), one(["a", "c"])),
    "finer times": Handled(MICROS, moments("ns", None, (1_999,)), moments("us", None, (1,))),
    "times of another zone": Handled(ZONED, moments("us", "Asia/Tokyo"), ZONED),
    "nothing but nulls": Handled(INTS, one([None, None]), one([None, None], pa.int64())),
    "lists of one length": Handled(PAIRS, one([[1.0, 2.0], [3.0, 5.0]]), PAIRS),
    "lists of whole numbers": Handled(PAIRS, one([[1, 2], [3, 5]], pa.list_(pa.int8())), PAIRS),
    "a name with a dot beside a struct": Handled(
        pa.table({"a.b": [1.0, 2.0]}),
        pa.table({"a": [{"b": "no"}] * 2, "a.b": [1.0, 2.0], "a.b.c": [7, 8]}),
        pa.table({"a.b": [1.0, 2.0]}),
    ),
}

REFUSED = {
    "text for numbers": Refused(INTS, one(["3", "4"]), "'x' must be number (int64), found string"),
    "numbers for text": Refused(TEXT, INTS, "'x' must be category of string, found int64"),
    "words for numbers": Refused(INTS, one(["3", "abc"]), "found string"),
    "numbers for truth": Refused(one([True, False]), one([7]), "'x' must be boolean (bool), found"),
    "truth for numbers": Refused(INTS, one([True]), "'x' must be number (int64), found bool"),
    "times for numbers": Refused(INTS, MICROS, "found timestamp[us]"),
    "numbers for times": Refused(MICROS, INTS, "found int64"),
    "a column less": Refused(two([1, 2], [3, 4]), INTS, "column 'y' (number) is missing"),
    "another case": Refused(
        pa.table({"X": [1, 2]}), INTS, "column 'X' (number) is missing; did you mean 'x'?"
    ),
    "times without a zone": Refused(ZONED, MICROS, "set or remove its time"),
    "times with a zone": Refused(MICROS, ZONED, "set or remove its time"),
    "lists for numbers": Refused(INTS, one([[1, 2]]), "'x' must be number (int64), found list<"),
    "numbers for lists": Refused(PAIRS, FLOATS, "'x' must be vector"),
    "longer lists": Refused(
        PAIRS, one([[1.0, 2.0, 3.0]], pa.list_(pa.float32(), 3)), "of length 2, found 3"
    ),
    "a longer list": Refused(
        PAIRS, one([[1.0, 2.0], [1.0]]), "hold 2 numbers in every row, found 1 in row 1"
    ),
    "structs for numbers": Refused(INTS, one([{"a": 1}]), "found struct<a: int64>"),
    "bytes for text": Refused(TEXT, one([b"a"]), "'x' must be category (string), found binary"),
    "a name twice": Refused(
        INTS,
        pa.Table.from_arrays([pa.array([1]), pa.array([9])], names=["x", "x"]),
        "column 'x' stands more than once",
    ),
}


def job(bundle: Bundle, source: Path, to: Path, **options: object) -> EmbeddingJob:
    known = {"bundle": str(bundle.path), "source": str(source), "destination": str(to)}
    return EmbeddingJob.model_validate(known | options)


def write(folder: Path, *tables: pa.Table) -> Path:
    folder.mkdir()
    for index, table in enumerate(tables):
        pq.write_table(table, folder / f"part-{index}.parquet")
    return folder


@pytest.mark.parametrize("name", HANDLED)
def test_what_means_the_same_is_embedded_to_the_bit(
    bundle_of: BundleOf, tmp_path: Path, name: str
) -> None:
    case = HANDLED[name]
    bundle = bundle_of(case.trained)
    source = write(tmp_path / "in", case.trained, case.found)
    embed(job(bundle, source, tmp_path / "to", vector="wide"))
    found = pq.read_table(tmp_path / "to/current")
    encoder = Encoder.open(bundle.path)
    wanted = np.concatenate([encoder.transform(case.trained), encoder.transform(case.same)])
    np.testing.assert_array_equal(np.column_stack(found.columns), wanted)
    assert np.isfinite(wanted).all()


@pytest.mark.parametrize("name", REFUSED)
def test_what_means_something_else_is_refused_by_file_and_column(
    bundle_of: BundleOf, tmp_path: Path, name: str
) -> None:
    case = REFUSED[name]
    source = write(tmp_path / "in", case.trained, case.found)
    with pytest.raises(Parquet2VecError) as caught:
        embed(job(bundle_of(case.trained), source, tmp_path / "to"))
    assert case.said in str(caught.value)
    assert "part-1.parquet" in str(caught.value)
    assert caught.value.exit_code == 3
    assert not (tmp_path / "to/current").exists()


ODD = ["a.b", "a/b", "ünï", "a b", "x" * 2_000, "\u202etxt", "a\nb", '"q"', "\x1b[31m", "p2v"]


def test_columns_of_odd_names_are_selected_by_exactly_these(
    bundle_of: BundleOf, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    table = pa.table({name: random.normal(size=20) for name in ODD})
    bundle, source = bundle_of(table), write(tmp_path / "in", table.select(ODD[::-1]))
    embed(job(bundle, source, tmp_path / "to", vector="wide"))
    found = pq.read_table(tmp_path / "to/current")
    np.testing.assert_array_equal(
        np.column_stack(found.columns), Encoder.open(bundle.path).transform(table)
    )


@pytest.mark.parametrize("name", ["\u202etxt", "a\nb", "\x1b[31m", "a\u2028b"])
def test_a_name_never_reaches_a_terminal_as_it_is(
    bundle_of: BundleOf, tmp_path: Path, name: str
) -> None:
    bundle = bundle_of(pa.table({name: [1.0, 2.0]}))
    source = write(tmp_path / "in", pa.table({"y": [1.0]}))
    with pytest.raises(Parquet2VecError, match="is missing") as caught:
        embed(job(bundle, source, tmp_path / "to"))
    assert str(caught.value).isprintable()
    assert name.encode("unicode_escape").decode() in str(caught.value)


@pytest.mark.parametrize(
    ("trained", "found"),
    [
        (one([1.5, 2.5], pa.float32()), one([0.1])),
        (one([1.5, 2.5], pa.float32()), one([1e300])),
        (INTS, one([1.5])),
        (FLOATS, BIG),
        (one([1, 2], pa.int8()), one([300])),
        (CENTS, one([Decimal("1.2345")], pa.decimal128(9, 4))),
        (MICROS, moments("ns", None, (1_999,))),
    ],
)
def test_a_key_that_the_first_files_type_cannot_hold_is_refused(
    bundle_of: BundleOf, tmp_path: Path, trained: pa.Table, found: pa.Table
) -> None:
    rows = pa.table({"x": trained["x"], "y": [1.0, 2.0]})
    keys = pa.chunked_array([pa.nulls(3, found["x"].type), *found["x"].chunks])
    more = pa.table({"x": keys, "y": np.ones(len(keys))})
    source = write(tmp_path / "in", rows, more)
    told = r"part-1\.parquet: column 'x' must fit .* in row 3 \(.*; cast the column"
    with pytest.raises(Parquet2VecError, match=told):
        embed(job(bundle_of(rows, keys=["x"]), source, tmp_path / "to"))


def test_float_keys_keep_their_bits(bundle_of: BundleOf, tmp_path: Path) -> None:
    wide = one([np.nan, -0.0, np.inf, 0.5, None], pa.float64())
    rows = pa.table({"x": wide["x"], "y": np.arange(5.0)})
    narrow = rows.set_column(0, "x", rows["x"].cast(pa.float32()))
    source = write(tmp_path / "in", narrow, rows)
    embed(job(bundle_of(rows, keys=["x"]), source, tmp_path / "to"))
    keys = pq.read_table(tmp_path / "to/current")["x"].combine_chunks()
    assert keys.type == pa.float32()
    assert keys.slice(5).view(pa.uint32()).equals(narrow["x"].combine_chunks().view(pa.uint32()))
