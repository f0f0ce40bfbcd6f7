"""What the columns of a table are for, guessed from their names and some rows.

Nothing is computed on these guesses: they are written down for a person to read and correct.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from pipeline.config import Config
from pipeline.schema import OUTPUT_NAMES, Column, FeatureSchema, is_text, kinds_of, value_type
from pipeline.schema_inference import infer

# Of names in the form of `_snake`.
_NAMES_A_ROW = re.compile(r"(^|_)(id|key|uid|uuid|guid)$|^id_|__index_level_\d+__$")
_SAYS_WHEN = re.compile(r"(^|_)(event|at|ts|time|timestamp|date|day|created|updated)($|_)")
_SAYS_ANOTHER_TIME = re.compile(
    r"(^|_)(birth\w*|born|dob|expir\w*|until|due|end|deleted|cancell?ed|closed)($|_)"
)
_IS_A_RESULT = re.compile(
    r"^(is|has|was|will)_|(^|_)(label|target|outcome|class|y|churn\w*|fraud\w*|late|default\w*|"
    r"converted|clicked|bought|returned|response)$"
)
_WORD_BEGINS = re.compile(r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_BETWEEN_WORDS = re.compile(r"[\W_]+")
_FEW_VALUES = 20
_MANY_VALUES = 0.9  # share of rows; text that nearly never repeats tells an encoder nothing
_SEVERAL_ROWS = 20  # in fewer, values differ by chance
_IDENTIFIER_BYTES = 16


class Guesses(Config):
    """Roles and kinds that a table's columns may have; every name is one of its columns.

    `names` are integer columns with so few values that they may be names and no quantities,
    `unrepeated` are text columns whose values hardly ever come twice, `key_candidates` are those
    where none does, `pictures` are vectors as long as an image of bytes, and `empty` are columns
    that hold nothing but nulls.
    """

    columns: FeatureSchema
    key: tuple[str, ...] = ()
    event_time: str | None = None
    labels: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    unrepeated: tuple[str, ...] = ()
    key_candidates: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    called_like_outputs: tuple[str, ...] = ()

    @property
    def set_aside(self) -> tuple[str, ...]:
        """Columns that cannot be features as they are, but could if they were mended."""
        return (*self.called_like_outputs, *self.empty)


def guess(arrow_schema: pa.Schema, sample: pa.RecordBatch) -> Guesses:
    """What the columns may be for, from their names and the rows of `sample`.

    >>> table = pa.record_batch({"user_id": [1, 2, 3], "spent": [0.1, 2.0, 3.0]})
    >>> guess(table.schema, table).key
    ('user_id',)

    Raises:
        SchemaError: if no column can be a feature.
    """
    sample = _plain(sample)
    called = tuple(name for name in OUTPUT_NAMES if name in arrow_schema.names)
    empty = tuple(
        column.name
        for column in infer(arrow_schema, sample, ignore=called).features
        if sample.column(column.name).null_count == sample.num_rows > 0
    )
    columns = infer(arrow_schema, sample, ignore=(*called, *empty))
    event_time = _event_time(columns, sample)
    key = _key(columns, sample, event_time)
    left = [
        column.name
        for column in columns.columns
        if column.role != "ignore" and column.name not in (*key, event_time)
    ]
    distinct = {name: _distinct(sample, name) for name in left}
    texts = [name for name in left if is_text(_type(sample, name))]
    return Guesses(
        columns=columns,
        key=key,
        event_time=event_time,
        labels=tuple(name for name in left if _may_be_label(sample, name, distinct[name])),
        names=tuple(
            name
            for name in left
            if pt.is_integer(_type(sample, name)) and 2 < distinct[name] <= _FEW_VALUES
        ),
        unrepeated=tuple(
            name for name in texts if distinct[name] > _MANY_VALUES * sample.num_rows > 1
        ),
        key_candidates=tuple(
            name for name in texts if distinct[name] == sample.num_rows >= _SEVERAL_ROWS
        ),
        pictures=tuple(c.name for c in columns.features if _may_be_picture(sample, c)),
        empty=empty,
        called_like_outputs=called,
    )


def _plain(sample: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with what extension types, such as identifiers, are stored as."""
    arrays = [
        array.storage if isinstance(array, pa.ExtensionArray) else array for array in sample.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=sample.schema.names)


def _snake(name: str) -> str:
    """A name in lower case, with one underscore between its words.

    >>> _snake("customerID"), _snake("Order Key"), _snake("HTTPStatus"), _snake("a.b")
    ('customer_id', 'order_key', 'http_status', 'a_b')
    """
    if name.startswith("__"):
        return name
    return _BETWEEN_WORDS.sub("_", _WORD_BEGINS.sub("_", name)).strip("_").lower()


def _event_time(columns: FeatureSchema, sample: pa.RecordBatch) -> str | None:
    """The first timestamp that is called like one, or the only one; every row must have it."""
    times = [
        column.name
        for column in columns.columns
        if column.kind == "timestamp"
        and not sample.column(column.name).null_count
        and not _SAYS_ANOTHER_TIME.search(_snake(column.name))
    ]
    named = [name for name in times if _SAYS_WHEN.search(_snake(name))]
    return next(iter(named or (times if len(times) == 1 else [])), None)


def _key(columns: FeatureSchema, sample: pa.RecordBatch, event_time: str | None) -> tuple[str, ...]:
    """The first column that is called like a key and names a row, if need be with the time.

    Where there is none, the first that counts the rows.
    """
    called = [
        column.name
        for column in columns.columns
        if _NAMES_A_ROW.search(_snake(column.name)) and _may_name(sample, column)
    ]
    for together in [(), (event_time,) if event_time else ()]:
        for name in called:
            if sample.num_rows and _is_unique(sample, (name, *together)):
                return (name,)
    counting = [column.name for column in columns.columns if _counts_rows(sample, column.name)]
    return tuple(counting[:1])


def _counts_rows(sample: pa.RecordBatch, name: str) -> bool:
    """Whether a column holds whole numbers without a gap, each once, in any order."""
    values = sample.column(name)
    if not pt.is_integer(values.type) or values.null_count or len(values) < _SEVERAL_ROWS:
        return False
    ends = pc.min_max(values).as_py()
    return ends["max"] - ends["min"] + 1 == len(values) and _is_unique(sample, (name,))


def _may_name(sample: pa.RecordBatch, column: Column) -> bool:
    """Whether a column is a whole number, a text or, as DuckDB writes identifiers, 16 bytes."""
    type_ = _type(sample, column.name)
    if pt.is_floating(type_):
        values = sample.column(column.name)
        return bool(pc.all(pc.equal(pc.floor(values), values)).as_py())
    identifier = pt.is_fixed_size_binary(type_) and type_.byte_width == _IDENTIFIER_BYTES
    return column.kind in ("number", "category") or identifier


def _is_unique(sample: pa.RecordBatch, names: Sequence[str]) -> bool:
    if any(sample.column(name).null_count for name in names):
        return False
    rows = pa.Table.from_batches([sample.select(list(names))])
    return bool(rows.group_by(list(names)).aggregate([]).num_rows == sample.num_rows)


def _may_be_label(sample: pa.RecordBatch, name: str, distinct: int) -> bool:
    plain = pt.is_boolean(_type(sample, name)) or pt.is_integer(_type(sample, name))
    place = name.lower() == "y" and {"x", "X"} & set(sample.schema.names)
    called = bool(_IS_A_RESULT.search(_snake(name))) and not place
    return distinct > 1 and (called or (plain and distinct == 2))


def _may_be_picture(sample: pa.RecordBatch, column: Column) -> bool:
    """Whether a vector's elements are bytes, as many as a square image of one or three colours."""
    type_ = _type(sample, column.name)
    if column.kind != "vector" or not column.length or not pt.is_uint8(type_.value_type):
        return False
    planes = [column.length, *([column.length // 3] if column.length % 3 == 0 else [])]
    return any(math.isqrt(pixels) ** 2 == pixels for pixels in planes)


def _distinct(sample: pa.RecordBatch, name: str) -> int:
    """Different values of a column, nulls not counted; 0 where they cannot be compared."""
    if kinds_of(_type(sample, name))[:1] in ((), ("vector",)):
        return 0
    values = sample.column(name)
    if pt.is_dictionary(values.type):
        values = values.dictionary_decode()
    return int(pc.count_distinct(values).as_py())


def _type(sample: pa.RecordBatch, name: str) -> pa.DataType:
    return value_type(sample.schema.field(name).type)
