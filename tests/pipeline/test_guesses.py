"""What a project file is started with: roles guessed from names and rows, never from hope."""

import datetime
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import SchemaError
from pipeline.guesses import guess


def guessed(**columns: Any) -> Any:
    batch = pa.record_batch(columns)
    return guess(batch.schema, batch)


DAYS = pa.array([datetime.date(2026, 1, day) for day in (1, 1, 2, 2)])


@pytest.mark.parametrize(
    "name",
    [
        "id",
        "user_id",
        "USER_ID",
        "order_key",
        "uuid",
        "Customer ID",
        "userId",
        "user.id",
        "id-user",
    ],
)
def test_a_column_that_is_called_a_key_and_never_repeats_is_one(name: str) -> None:
    assert guessed(**{"amount": [1.0, 2, 3, 4], name: [4, 3, 2, 1]}).key == (name,)


@pytest.mark.parametrize(
    "values", [[1, 1, 2, 3], [1, 2, 3, None], [1.5, 2.5, 2.5, 1.0], [[1], [2], [3], [4]]], ids=str
)
def test_what_repeats_or_is_missing_somewhere_is_no_key(values: list[Any]) -> None:
    assert guessed(id=values, amount=[1.0, 2, 3, 4]).key == ()


def test_numbers_that_happen_to_differ_are_no_key() -> None:
    assert guessed(amount=[1, 2, 3, 4]).key == ()


def test_names_of_several_words_are_read_word_by_word() -> None:
    found = guessed(bornOn=DAYS, eventDay=DAYS, isLate=[1, 2, 3, 1], paid=[1, 2, 3, 4])
    assert (found.event_time, found.labels, found.key) == ("eventDay", ("isLate",), ())


def test_a_key_may_repeat_where_the_time_tells_its_rows_apart() -> None:
    found = guessed(shop_id=[1, 2, 1, 2], day=DAYS, sold=[1.0, 2, 3, 4])
    assert (found.key, found.event_time) == (("shop_id",), "day")


def test_a_key_of_its_own_goes_before_one_that_needs_the_time() -> None:
    found = guessed(shop_id=[1, 2, 1, 2], day=DAYS, id=[1, 2, 3, 4], sold=[1.0, 2, 3, 4])
    assert found.key == ("id",)


def test_a_dictionary_encoded_key_is_one() -> None:
    names = pa.array(["a", "b", "c", "d"]).dictionary_encode()
    assert guessed(user_id=names, amount=[1.0, 2, 3, 4]).key == ("user_id",)


def test_the_time_is_the_one_that_is_called_so() -> None:
    assert guessed(birthday=DAYS, born=DAYS, created_at=DAYS, x=[1.0] * 4).event_time == (
        "created_at"
    )


def test_the_only_time_is_taken_whatever_its_name() -> None:
    assert guessed(when=DAYS, x=[1.0] * 4).event_time == "when"


def test_of_several_nameless_times_none_is_taken() -> None:
    assert guessed(one=DAYS, two=DAYS, x=[1.0] * 4).event_time is None


def test_labels_are_results_by_name_and_columns_of_two_values() -> None:
    found = guessed(
        churned=[0, 1, 2, 3],
        flag=[True, False, True, None],
        constant=[True, True, True, True],
        target=[1.0, 1.0, 1.0, 1.0],
        zero_one=[0, 1, 0, 1],
        share=[0.0, 1.0, 0.0, 1.0],
    )
    assert found.labels == ("churned", "flag", "zero_one")


def test_few_whole_numbers_may_be_names_and_text_that_never_repeats_says_nothing() -> None:
    found = guessed(
        terminal=[1, 2, 3, 1],
        city=["a", "b", "a", "b"],
        note=["a", "b", "c", "d"],
        amount=[0.1, 0.2, 0.3, 0.1],
    )
    assert (found.names, found.unrepeated) == (("terminal",), ("note",))


def test_an_empty_table_gives_its_columns_and_no_guess_about_rows() -> None:
    found = guessed(id=pa.array([], pa.int64()), x=pa.array([], pa.float64()))
    assert (found.key, found.labels, found.names) == ((), (), ())


def test_every_type_that_a_table_may_hold_is_looked_at() -> None:
    found = guessed(
        x=[1.0, 2.0],
        lists=pa.array([[1, 2], [3]]),
        structs=pa.array([{"a": 1}, {"a": 2}]),
        binary=pa.array([b"a", b"b"]),
        coded=pa.array(["a", "b"]).dictionary_encode(),
        nothing=pa.nulls(2),
        spans=pa.array([1, 2], pa.duration("s")),
    )
    assert len(found.columns.columns) == 7


def test_a_table_without_a_feature_is_refused() -> None:
    with pytest.raises(SchemaError, match="no column that can be a feature"):
        guessed(binary=pa.array([b"a", b"b"]))


SEVERAL = list(range(30))


@pytest.mark.parametrize(
    "name", ["birth_date", "date_of_birth", "dob", "expiryDate", "valid_until", "deleted_at"]
)
def test_a_time_that_says_something_else_is_not_when_the_row_was(name: str) -> None:
    assert guessed(**{name: DAYS, "x": [1.0] * 4}).event_time is None
    assert guessed(**{name: DAYS, "admitted": DAYS, "x": [1.0] * 4}).event_time == "admitted"


def test_a_time_that_some_rows_lack_is_no_event_time() -> None:
    shipped = pa.array([DAYS[0].as_py(), None, None, DAYS[3].as_py()])
    assert guessed(shipped_at=shipped, x=[1.0] * 4).event_time is None


def test_an_identifier_of_sixteen_bytes_is_a_key_as_duckdb_writes_it() -> None:
    identifiers = pa.array([bytes([row] * 16) for row in range(4)], pa.binary(16))
    assert guessed(id=identifiers, x=[1.0] * 4).key == ("id",)
    assert guessed(id=identifiers.cast(pa.uuid()), x=[1.0] * 4).key == ("id",)


def test_numbers_with_fractions_are_no_key_whatever_their_name() -> None:
    assert guessed(key=[0.1, 0.2, 0.3, 0.4], x=[1.0] * 4).key == ()
    assert guessed(key=[1.0, 2.0, 3.0, 4.0], x=[1.0] * 4).key == ("key",)


def test_the_nameless_index_of_a_frame_is_its_key() -> None:
    assert guessed(x=[1.0] * 4, __index_level_0__=[0, 2, 4, 6]).key == ("__index_level_0__",)


def test_a_place_called_y_is_no_label() -> None:
    assert guessed(x=[1.0, 2.0], y=[0.5, 1.5]).labels == ()
    assert guessed(a=[1.0, 2.0], y=[0.5, 1.5]).labels == ("y",)


def test_text_that_never_repeats_may_be_the_key_for_all_its_name_tells() -> None:
    patients = [f"P{row}" for row in SEVERAL]
    found = guessed(patient=patients, ward=["a", "b"] * 15, x=[1.5] * 30)
    assert (found.key, found.key_candidates) == ((), ("patient",))


def test_bytes_as_many_as_a_square_image_may_be_a_picture() -> None:
    def bytes_of(length: int) -> pa.Array:
        return pa.array([[0] * length] * 2, pa.list_(pa.uint8(), length))

    found = guessed(x=[1.0, 2.0], grey=bytes_of(16), colour=bytes_of(12), word=bytes_of(7))
    assert found.pictures == ("grey", "colour")


def test_columns_called_like_outputs_are_left_out_and_not_refused() -> None:
    vectors = pa.array([[1.0, 2.0]] * 2, pa.list_(pa.float32(), 2))
    found = guessed(x=[1.0, 2.0], embedding=vectors)
    assert found.columns["embedding"].role == "ignore"
    assert found.set_aside == ("embedding",)


def test_columns_of_nulls_are_left_out_for_training_refuses_them() -> None:
    found = guessed(x=[1.0, None], city=pa.nulls(2, pa.string()), at=pa.nulls(2, pa.date32()))
    assert (found.set_aside, found.event_time) == (("city", "at"), None)
