"""What the columns of a table are for, guessed from their names and some rows.

Nothing is computed on these guesses: they are written down for a person to read and correct.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from pipeline.config import Config
from pipeline.schema import FeatureSchema, infer, is_text, kinds_of, value_type

_NAMES_A_ROW = re.compile(r"(^|_)(id|key|uuid|guid)$", re.IGNORECASE)
_SAYS_WHEN = re.compile(
    r"(^|_)(event|at|ts|time|timestamp|date|day|created|updated)($|_)", re.IGNORECASE
)
_IS_A_RESULT = re.compile(
    r"^(is|has|was|will)_|(^|_)(label|target|outcome|class|y|churn\w*|fraud\w*|late|default\w*|"
    r"converted|clicked|bought|returned|response)$",
    re.IGNORECASE,
)
_FEW_VALUES = 20
_MANY_VALUES = 0.9  # share of rows; text that nearly never repeats tells an encoder nothing


class Guesses(Config):
    """Roles and kinds that a table's columns may have; every name is one of its columns.

    `names` are integer columns with so few values that they may be names and no quantities, and
    `unrepeated` are text columns whose values hardly ever come twice.
    """

    columns: FeatureSchema
    key: tuple[str, ...] = ()
    event_time: str | None = None
    labels: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    unrepeated: tuple[str, ...] = ()


def guess(arrow_schema: pa.Schema, sample: pa.RecordBatch) -> Guesses:
    """What the columns may be for, from their names and the rows of `sample`.

    >>> table = pa.record_batch({"user_id": [1, 2, 3], "spent": [0.1, 2.0, 3.0]})
    >>> guess(table.schema, table).key
    ('user_id',)

    Raises:
        SchemaError: if no column can be a feature.
    """
    columns = infer(arrow_schema, sample)
    event_time = _event_time(columns)
    key = _key(columns, sample, event_time)
    left = [name for name in sample.schema.names if name not in (*key, event_time)]
    distinct = {name: _distinct(sample, name) for name in left}
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
            name
            for name in left
            if is_text(_type(sample, name)) and distinct[name] > _MANY_VALUES * sample.num_rows > 1
        ),
    )


def _event_time(columns: FeatureSchema) -> str | None:
    """The first timestamp that is called like one, or the only one."""
    times = [column.name for column in columns.columns if column.kind == "timestamp"]
    named = [name for name in times if _SAYS_WHEN.search(name)]
    return next(iter(named or (times if len(times) == 1 else [])), None)


def _key(columns: FeatureSchema, sample: pa.RecordBatch, event_time: str | None) -> tuple[str, ...]:
    """The first column that is called like a key and names a row, if need be with the time."""
    called = [
        column.name
        for column in columns.columns
        if _NAMES_A_ROW.search(column.name) and column.kind in ("number", "category")
    ]
    for together in [(), (event_time,) if event_time else ()]:
        for name in called:
            if sample.num_rows and _is_unique(sample, (name, *together)):
                return (name,)
    return ()


def _is_unique(sample: pa.RecordBatch, names: Sequence[str]) -> bool:
    if any(sample.column(name).null_count for name in names):
        return False
    rows = pa.Table.from_batches([sample.select(list(names))])
    return bool(rows.group_by(list(names)).aggregate([]).num_rows == sample.num_rows)


def _may_be_label(sample: pa.RecordBatch, name: str, distinct: int) -> bool:
    plain = pt.is_boolean(_type(sample, name)) or pt.is_integer(_type(sample, name))
    called = bool(_IS_A_RESULT.search(name))
    return distinct > 1 and (called or (plain and distinct == 2))


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
