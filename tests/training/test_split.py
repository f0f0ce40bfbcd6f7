import numpy as np
import pyarrow as pa
import pytest

from pipeline.feed import NULL_INT
from training.split import Split, hash_values


def batch(**columns) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def test_parts_do_not_depend_on_how_rows_are_cut_into_batches():
    split, rows = Split("position", seed=3), batch(x=list(range(5000)))
    whole = split.assign(rows, 0)
    parts = [split.assign(rows.slice(a, 700), a) for a in range(0, 5000, 700)]
    assert np.array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("rule", ["position", "key"])
def test_a_tenth_validates_and_a_tenth_tests(rule):
    split = Split(rule, ("id",) if rule == "key" else ())
    found = np.bincount(split.assign(batch(id=list(range(50_000))), 0)) / 50_000
    assert np.allclose(found, [0.8, 0.1, 0.1], atol=0.01)


def test_rows_of_one_key_stay_together_wherever_they_stand():
    split = Split("key", ("who", "day"))
    keys = {"who": ["ü", None, "b"] * 100, "day": [1, 2, 3] * 100}
    assert len(np.unique(split.assign(batch(**keys), 17).reshape(-1, 3), axis=0)) == 1


def test_a_key_has_the_same_hash_in_any_arrow_type():
    numbers, texts = [1, None, -7], ["a", None, "ñ"]
    assert np.array_equal(
        hash_values(pa.array(numbers, pa.int16())), hash_values(pa.array(numbers, pa.int64()))
    )
    assert np.array_equal(
        hash_values(pa.array(texts)), hash_values(pa.array(texts).dictionary_encode())
    )
    for kind in (pa.binary(), pa.large_binary(), pa.binary_view()):
        assert np.array_equal(
            hash_values(pa.array(texts)), hash_values(pa.array(texts).cast(pa.binary()).cast(kind))
        )


def test_a_key_may_be_a_time_in_a_zone_that_nobody_knows():
    times = pa.array([1, None, 2], pa.timestamp("us", "Mars/Olympus"))
    assert len(np.unique(hash_values(times))) == 3


def test_a_key_may_be_bytes_that_are_no_text():
    pairs = pa.array([b"\xff\x00", b"\x00\xff", None], pa.binary(2))
    assert len(np.unique(hash_values(pairs))) == 3


def test_another_seed_gives_another_split():
    rows = batch(x=list(range(1000)))
    one, two = (Split("position", seed=seed).assign(rows, 0) for seed in (0, 1))
    assert 0.2 < np.mean(one != two) < 0.5


def test_by_time_the_past_trains_and_the_last_tenth_tests():
    micros = np.arange(1000, dtype=np.int64) * 10**6
    split = Split.by_time("at", micros, seed=0)
    assert split is not None
    parts = split.assign(batch(at=pa.array([*micros.tolist(), None], pa.timestamp("us"))), 0)
    assert (np.diff(parts[:1000].astype(int)) >= 0).all()
    assert parts[1000] == 0
    assert np.allclose(np.bincount(parts[:1000]), [800, 100, 100], atol=2)


def test_rows_without_a_time_move_no_threshold():
    micros = np.random.default_rng(0).permutation(1000).astype(np.int64)
    missing = np.full(500, NULL_INT)
    with_nulls = Split.by_time("at", np.concatenate([micros, missing]), seed=0)
    assert with_nulls == Split.by_time("at", micros, seed=0)


def test_a_time_that_stands_still_gives_no_split():
    assert Split.by_time("at", np.full(100, 5), seed=0) is None


def test_a_split_survives_json():
    split = Split("time", ("at",), (5, 9), 2)
    assert Split.from_json(split.to_json()) == split


def test_picked_rows_are_spread_over_all_parts():
    rows, split = batch(x=list(range(20_000))), Split("position")
    picked = split.picks(rows, 0, share=0.25)
    parts = split.assign(rows, 0)
    assert np.allclose([picked[parts == part].mean() for part in range(3)], 0.25, atol=0.03)
