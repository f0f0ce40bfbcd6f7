import pyarrow as pa
import pytest

from pipeline.config import ColumnOverride
from pipeline.errors import SchemaError
from pipeline.schema import FeatureSchema, differences
from pipeline.schema_inference import infer

NUMBERS = [pa.int8(), pa.uint64(), pa.int64(), pa.float16(), pa.float32(), pa.float64()]
TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
OTHERS = [pa.bool_(), pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.list_(pa.float32(), 3)]


def contract(type_: pa.DataType) -> FeatureSchema:
    table = pa.schema([pa.field("x", type_)]).empty_table()
    return infer(table.schema, table)


def broken(trained: pa.DataType, found: pa.DataType) -> list[str]:
    return differences(contract(trained), pa.schema([pa.field("x", found)]))


def test_every_kind_is_inferred_from_its_type(schema: FeatureSchema) -> None:
    kinds = {c.name: c.kind for c in schema.columns}
    assert kinds == {
        "id": "number",
        "at": "timestamp",
        "amount": "number",
        "ratio": "number",
        "count": "number",
        "price": "number",
        "big": "number",
        "flag": "boolean",
        "seen": "timestamp",
        "zoned": "timestamp",
        "city": "category",
        "code": "category",
        "vector": "vector",
        "late": "number",
    }


def test_key_label_and_event_time_are_no_features(schema: FeatureSchema) -> None:
    assert not {"id", "late", "at"} & {c.name for c in schema.features}


@pytest.mark.parametrize("found", NUMBERS)
@pytest.mark.parametrize("trained", NUMBERS)
def test_any_width_of_number_stands_for_any_other(trained: pa.DataType, found: pa.DataType) -> None:
    assert broken(trained, found) == []


@pytest.mark.parametrize("found", TEXTS)
@pytest.mark.parametrize("trained", TEXTS)
def test_any_layout_of_text_stands_for_any_other(trained: pa.DataType, found: pa.DataType) -> None:
    assert broken(trained, found) == []


@pytest.mark.parametrize("found", [pa.float64(), pa.string(), *OTHERS])
@pytest.mark.parametrize("trained", [pa.float64(), pa.string(), *OTHERS])
def test_no_kind_is_ever_cast_to_another(trained: pa.DataType, found: pa.DataType) -> None:
    assert (broken(trained, found) == []) == (trained == found)


def test_a_column_of_nulls_only_stands_for_any_kind() -> None:
    assert [broken(t, pa.null()) for t in [*NUMBERS, *TEXTS, *OTHERS]] == [[]] * 14


def test_a_vector_of_another_length_is_a_difference() -> None:
    assert "length 3, found 4" in broken(pa.list_(pa.float32(), 3), pa.list_(pa.float32(), 4))[0]


def test_a_missing_column_is_named_with_the_closest_one() -> None:
    found = differences(contract(pa.float64()), pa.schema([pa.field("X", pa.float64())]))
    assert found == ["column 'x' (number) is missing; did you mean 'X'?"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("columns", "letters"), [(2_000, 10), (400, 50), (50, 2_000)])
def test_a_table_that_shares_nothing_is_told_at_once(columns: int, letters: int) -> None:
    def wide(prefix: str) -> pa.Schema:
        names = [f"{prefix}_{i}_{'a' * letters}" for i in range(columns)]
        return pa.schema({name: pa.float64() for name in names})

    trained = wide("feature")
    found = differences(infer(trained, trained.empty_table()), wide("measure"))
    assert len(found) == columns


def test_extra_columns_and_another_order_are_no_difference(
    schema: FeatureSchema, table: pa.Table
) -> None:
    names = list(reversed(table.column_names))
    assert differences(schema, table.select(names).append_column("more", table["id"]).schema) == []


def test_integers_can_be_declared_categories(table: pa.Table) -> None:
    said = {"count": ColumnOverride(kind="category")}
    assert infer(table.schema, table, overrides=said)["count"].kind == "category"


def test_text_is_no_substitute_for_an_integer_category(table: pa.Table) -> None:
    contract = infer(table.schema, table, overrides={"count": ColumnOverride(kind="category")})
    place = table.column_names.index("count")
    found = table.schema.set(place, pa.field("count", pa.string()))
    assert len(differences(contract, found)) == 1


def test_structs_and_binaries_are_ignored() -> None:
    fields = [("s", pa.struct([("a", pa.int8())])), ("b", pa.binary()), ("x", pa.int8())]
    table = pa.schema(fields).empty_table()
    assert [c.role for c in infer(table.schema, table).columns] == ["ignore", "ignore", "feature"]


def test_lists_of_changing_length_are_ignored() -> None:
    table = pa.table({"l": [[1.0], [1.0, 2.0]], "x": [1, 2]})
    assert infer(table.schema, table)["l"].role == "ignore"


def test_all_wrong_names_are_reported_at_once(table: pa.Table) -> None:
    with pytest.raises(SchemaError, match=r"'identity'.*'latte'.*did you mean 'late'.*'delayed'"):
        infer(table.schema, table, keys=["identity"], event_time="delayed", labels=["latte"])


@pytest.mark.parametrize("value", [{"a": 1}, [1], [{"a": 1}]])
def test_a_key_must_be_one_value(value: object) -> None:
    table = pa.table({"id": [value], "x": [1]})
    with pytest.raises(SchemaError, match="key 'id' must be one value, found "):
        infer(table.schema, table, keys=["id"])


def test_an_event_time_must_be_a_time(table: pa.Table) -> None:
    with pytest.raises(SchemaError, match="'city' must be a timestamp or date, found string"):
        infer(table.schema, table, event_time="city")


def test_a_table_without_features_says_what_it_found(table: pa.Table) -> None:
    few = table.select(["id", "late"])
    with pytest.raises(SchemaError, match=r"no column that can be a feature.*id \(int64, key\)"):
        infer(few.schema, few, keys=["id"], labels=["late"])


@pytest.mark.parametrize("name", ["embedding", "reconstruction_error", "", "p2v/x", "a\0b"])
def test_names_that_a_model_cannot_take_are_refused(name: str) -> None:
    table = pa.table({name: [1.0], "x": [2.0]})
    with pytest.raises(SchemaError, match="rename it"):
        infer(table.schema, table)


def test_the_fingerprint_follows_the_contract(table: pa.Table, schema: FeatureSchema) -> None:
    again = FeatureSchema.model_validate_json(schema.model_dump_json())
    assert again.fingerprint == schema.fingerprint != infer(table.schema, table).fingerprint


DATES: dict[str, list[str | None]] = {
    "day": ["2026-01-02", "2026-01-03"],
    "month": ["2026-01", None],
    "seen": ["2026-01-02 10:00:00", "2026-01-02T10:00:00.5Z"],
    "year": ["2026", "2027"],
    "dt": ["20260102", "20260103"],
}


@pytest.mark.parametrize("name", DATES)
@pytest.mark.parametrize("type_", [pa.string(), pa.string_view()], ids=str)
def test_dates_as_text_are_no_feature_unless_it_is_said(name: str, type_: pa.DataType) -> None:
    table = pa.table({"x": [1.0, 2.0], name: pa.array(DATES[name], type_)})
    found = infer(table.schema, table)[name]
    assert (found.kind, found.role) == (None, "ignore")
    for said in (ColumnOverride(role="feature"), ColumnOverride(kind="category")):
        assert infer(table.schema, table, overrides={name: said})[name].role == "feature"
    coded = table.set_column(1, name, table[name].cast(pa.string()).dictionary_encode())
    assert infer(coded.schema, coded)[name].role == "ignore"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("zip", ["00184", "20100"]),
        ("day", ["monday", "2026-01-02"]),
        ("code", ["2026-01-02-a", "b"]),
        ("day", [None, None]),
    ],
    ids=str,
)
def test_other_text_is_a_category(name: str, values: list[str | None]) -> None:
    table = pa.table({"x": [1.0, 2.0], name: pa.array(values, pa.string())})
    assert infer(table.schema, table)[name].role == "feature"


def test_an_identifier_is_the_same_whether_or_not_its_file_calls_it_one() -> None:
    """DuckDB's files give sixteen bytes, the same rows written by Arrow an extension type."""
    plain = pa.table({"id": pa.array([b"0123456789abcdef"], pa.binary(16)), "x": [1.0]})
    called = plain.set_column(0, "id", plain["id"].cast(pa.uuid()))
    schema = infer(plain.schema, plain, keys=["id"])
    assert infer(called.schema, called, keys=["id"]) == schema
    assert differences(schema, called.schema) == []
