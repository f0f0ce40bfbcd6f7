"""What an evaluation measures, and what it refuses to."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score, roc_auc_score

from export.package import export
from pipeline.errors import DataError, SchemaError
from pipeline.progress import Silent
from pipeline.schema_inference import infer
from training.baselines import fit_pca, fit_raw_matrix
from training.comparison import Model, Sample, compare
from training.evaluation import evaluate
from training.fit import fit
from training.health import latent_health
from training.leakage import PREFIX
from training.rows import Drawn, draw, target
from training.scoring import resample, roc_auc, score, standard_error
from training.spec import TrainingJob
from training.verdict import judge

ROWS = 1500


def make_table(rows=ROWS, seed=0):
    """Two classes told by the product of two columns, which no linear code holds."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4))
    town = np.array(["Rom", "Oslo", "Łódź"])[rng.integers(0, 3, rows)]
    return pa.table(
        {
            "id": np.arange(rows) + 10_000 * seed,
            "a": x[:, 0],
            "b": x[:, 1],
            "c": pa.array(x[:, 2], mask=rng.random(rows) < 0.1),
            "d": 0.9 * x[:, 0] + 0.3 * x[:, 3],
            "town": pa.array(town, mask=rng.random(rows) < 0.05),
            "flag": x[:, 3] > 0,
            "label": np.where(x[:, 0] * x[:, 1] > 0, "yes", "no"),
        }
    )


SCHEMA = infer(make_table(50).schema, make_table(50), keys=["id"], labels=["label"])


def stand_in(encode, dim, *, decode=None):
    """A model whose codes are whatever `encode` says of the columns a, b, c, d."""

    def columns(table):
        return np.nan_to_num(np.column_stack([table[n].to_numpy() for n in "abcd"]))

    def columns_of(codes, table):
        usual = {c.name: "Rom" if c.kind == "category" else 0.0 for c in SCHEMA.features}
        return {name: np.array([value] * len(codes)) for name, value in usual.items()}

    return Model(
        "f" * 64, "plain", dim, SCHEMA,
        lambda table: np.asarray(encode(columns(table)), np.float32),
        decode or columns_of,
        lambda table: columns(table).astype(np.float32),
    )  # fmt: skip


def judged(encode, dim=2, *, label="label", train=None, test=None):
    train, test = train or make_table(seed=1), test or make_table(seed=2)
    sample = Sample(Drawn(train, ROWS, 0), Drawn(test, ROWS, 0), "rows made for the test")
    return compare(stand_in(encode, dim), sample, label, progress=Silent())


def knowing(x):
    return np.column_stack([x[:, 0] * x[:, 1], x[:, 2]])


@pytest.fixture(scope="module")
def found():
    return judged(knowing)


# scores


def test_roc_auc_agrees_with_scikit_learn_on_ties_and_weights():
    rng = np.random.default_rng(0)
    label, predicted = rng.integers(0, 2, 300), rng.integers(0, 20, 300) / 20
    weights = resample(300, resamples=3)
    expected = [roc_auc_score(label, predicted, sample_weight=w) for w in weights]
    assert np.allclose(roc_auc(label, predicted, weights), expected)


def test_r_squared_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    label = rng.normal(size=200)
    predicted, weights = label + rng.normal(size=200), resample(200, resamples=3)
    expected = [r2_score(label, predicted, sample_weight=w) for w in weights]
    assert np.allclose(score("numbers", label, predicted, weights), expected)


def test_the_standard_error_of_accuracy_is_that_of_a_share():
    right = np.r_[np.ones(800), np.zeros(200)]
    lines = score("classes", np.ones(1000), right, resample(1000, resamples=2000))
    assert standard_error(lines) == pytest.approx(np.sqrt(0.8 * 0.2 / 1000), rel=0.1)


# rows


def drawn(table, size, **changes):
    settings = {"caps": {0: 100, 2: 50}, "label": None, "seed": 3} | changes
    thirds = lambda batch, first: ((np.arange(batch.num_rows) + first) % 3).astype(np.uint8)  # noqa: E731
    return draw(table.to_batches(max_chunksize=size), assign=thirds, **settings)


def test_rows_drawn_do_not_depend_on_the_batches():
    table = make_table()
    assert drawn(table, 7)[0].table.equals(drawn(table, 1000)[0].table)


def test_rows_drawn_keep_to_their_part_and_cap():
    found = drawn(make_table(), 64)[2]
    assert (found.table.num_rows, found.available) == (50, 500)
    assert set(found.table["id"].to_numpy() % 3) == {2}


def test_rows_without_a_label_are_left_out_and_counted():
    table = pa.table({"label": pa.array([1.0, None, np.nan, 2.0, 3.0, 4.0])})
    found = drawn(table, 6, label="label", caps={0: 9, 1: 9, 2: 9})
    assert [(f.available, f.unlabelled) for f in found.values()] == [(2, 0), (1, 1), (1, 1)]


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"], "two classes"),
        ([True, False], "two classes"),
        ([0.0, 1.0], "two classes"),
        ([1, 2, 3], "classes"),
        (list(range(60)), "numbers"),
        ([0.5, 1.5, 2.5], "numbers"),
    ],
)
def test_a_label_is_classes_or_numbers(values, task):
    column = pa.chunked_array([pa.array(values)])
    assert target("y", column, column).task == task


def test_a_label_with_one_value_is_refused():
    column = pa.chunked_array([pa.array(["a", "a"])])
    with pytest.raises(DataError, match="two values or more in the training rows, found only 'a'"):
        target("y", column, column)


def test_a_label_that_looks_like_a_key_is_refused():
    column = pa.chunked_array([pa.array([f"id{i}" for i in range(2000)])])
    with pytest.raises(DataError, match="looks like a key"):
        target("y", column, column)


# baselines


def test_the_raw_matrix_is_finite_for_rows_never_seen():
    raw = fit_raw_matrix(make_table(), SCHEMA)
    odd = make_table(5).set_column(1, "a", pa.array([np.inf, -np.inf, 1e300, None, np.nan]))
    odd = odd.set_column(5, "town", pa.array(["new", None, "", "Rom", "Oslo"]))
    assert np.isfinite(raw.transform(odd)).all()
    odd = odd.set_column(1, "a", pa.array([1.7e308, 1.7e308, -np.inf, None, 0.5]))
    raw = fit_raw_matrix(odd, SCHEMA)
    assert np.isfinite(raw.transform(odd)).all()


def test_a_category_never_seen_is_other():
    raw = fit_raw_matrix(make_table(), SCHEMA)
    odd = make_table(1).set_column(5, "town", pa.array(["new"]))
    block = raw.transform(odd)[0, raw.slices()["town"]]
    assert block.tolist() == [0, 0, 0, 0, 1]


def test_the_pca_baseline_is_exact():
    matrix = np.random.default_rng(0).normal(size=(300, 12)).astype("f4") @ np.diag(range(1, 13))
    expected = PCA(3, svd_solver="full").fit(matrix).explained_variance_
    assert np.allclose(fit_pca(matrix, dim=3, seed=0).explained_variance_, expected, rtol=1e-4)


# comparison


def test_every_representation_meets_every_probe(found):
    assert len({(s.representation, s.probe) for s in found.scores}) == 15


def test_a_code_that_knows_the_label_beats_pca(found):
    assert found.verdict.kind == "embedding"
    assert "ahead of PCA by" in found.verdict.headline


def test_leads_are_differences_of_scores(found):
    points = 100 * (found.score("embedding").score - found.score("PCA").score)
    assert found.lead("PCA").points == pytest.approx(points, abs=0.01)


def test_scores_repeat(found):
    again = judged(knowing)
    assert [s.score for s in again.scores] == [s.score for s in found.scores]


def test_a_linear_code_where_columns_tell_more_is_advised_against():
    table = [make_table(seed=s) for s in (1, 2)]
    labelled = [t.set_column(7, "label", t["flag"]) for t in table]
    found = judged(lambda x: x[:, :2], train=labelled[0], test=labelled[1])
    assert found.verdict.kind == "raw_is_better"


def test_a_code_worse_than_pca_is_advised_against():
    table = [make_table(seed=s) for s in (1, 2)]
    labelled = [t.set_column(7, "label", pa.array(t["a"].to_numpy() > 0)) for t in table]
    found = judged(lambda x: x[:, 1:3] * [1, 0], train=labelled[0], test=labelled[1])
    assert found.verdict.kind in ("pca_is_better", "raw_is_better")
    assert found.lead("PCA").points < -10


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (
            {"label": 700},
            "made for “label”: the encoder learnt from 700 labelled rows, none of them",
        ),
        ({"other": 700}, "made for “other”, not for “label”, which the encoder never saw"),
        ({}, None),
    ],
)
def test_the_verdict_says_what_a_code_was_made_for(found, labels, says):
    text = judge(found.model_copy(update={"learnt_from": labels})).text
    assert ("The code was made for" in text) is (says is not None)
    assert says is None or says in text


def test_the_verdict_points_at_signs_of_leakage(found):
    assert not any(note.startswith(PREFIX) for note in found.notes)
    assert "signs of leakage" not in found.verdict.text
    suspected = found.model_copy(update={"notes": (PREFIX + "equal rows.",)})
    assert "There are signs of leakage" in judge(suspected).text


def test_test_rows_that_are_training_rows_are_noted():
    table = make_table()
    notes = judged(knowing, train=table, test=table).notes
    assert any(note.startswith(f"{PREFIX}100% of the test rows") for note in notes)


def test_a_number_is_predicted_by_regression():
    table = [make_table(seed=s) for s in (1, 2)]
    found = judged(
        lambda x: x, 4, train=table[0], test=table[1], label="d"
    )  # a column of the table stands for the label; the contract is checked by evaluate
    assert (found.metric, found.score("embedding").score > 0.99) == ("R²", True)


def test_without_a_label_hidden_columns_are_predicted():
    found = judged(lambda x: x[:, [0, 2]], label=None)
    assert found.hidden_columns is not None
    assert found.scores == ()


def test_a_hidden_column_cannot_be_read_from_its_own_code():
    found = judged(lambda x: x[:, [1]], dim=1, label=None)
    hidden = {c.column: c.embedding for c in found.hidden_columns.columns}
    assert hidden["b"] < 0.01


def test_a_hidden_column_that_stands_still_in_the_test_rows_counts_for_nothing():
    still = make_table(seed=2)
    still = still.set_column(2, "b", pa.array(np.full(ROWS, 0.1) + 1e-9 * np.arange(ROWS)))
    found = judged(lambda x: x[:, [0, 2]], label=None, test=still)
    assert "b" not in {c.column for c in found.hidden_columns.columns}
    assert found.hidden_columns.pca > -1


def test_dead_units_are_counted():
    codes = np.random.default_rng(0).normal(size=(100, 3)).astype("f4") * np.array([1, 0, 1], "f4")
    health = latent_health(codes, codes)
    assert (health.active_units, health.least_variance) == (2, 0.0)


def test_different_rows_with_one_vector_are_counted():
    inputs = np.arange(10, dtype="f4")[:, None]
    assert latent_health(inputs // 2, inputs).merged_rows == 5


def test_always_guessing_what_is_usual_has_an_error_of_about_one(found):
    errors = {c.column: c.error for c in found.reconstruction}
    assert errors["a"] == pytest.approx(1, abs=0.05)


def test_a_decoder_that_knows_has_no_error():
    test = make_table(seed=2)

    def truth(codes, table):
        return {name: table[name].to_numpy(zero_copy_only=False) for name in ("a", "b", "flag")}

    model = stand_in(knowing, 2, decode=truth)
    sample = Sample(Drawn(make_table(seed=1), ROWS, 0), Drawn(test, ROWS, 0), "")
    found = compare(model, sample, None, progress=Silent())
    assert {c.column: c.error for c in found.reconstruction} == {"a": 0, "b": 0, "flag": 0}


# a real bundle


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluation") / "rows.parquet"
    pq.write_table(make_table(), path)
    return path


@pytest.fixture(scope="module")
def bundle(source):
    out = source.with_name("bundle")
    job = TrainingJob(
        source=str(source), out=str(out), recipe="linear", key=("id",), label=("label",)
    )
    export(fit(job), out)
    return out


def test_the_recorded_split_decides_which_rows_are_tested(bundle, source):
    rows = evaluate(bundle, source, "label").rows
    assert 0.05 * ROWS < rows.test_available < 0.15 * ROWS
    assert 0.75 * ROWS < rows.train_available < 0.85 * ROWS


def test_principal_components_are_level_with_pca(bundle, source):
    found = evaluate(bundle, source, "label")
    assert abs(found.lead("prepared PCA").points) < 5
    assert "principal components" in found.verdict.text


def test_all_rows_of_another_source_are_tested(bundle, source):
    other = source.with_name("other.parquet")
    pq.write_table(make_table(200, seed=7).drop_columns("id"), other)
    found = evaluate(bundle, source, "label", test=other)
    assert (found.rows.test, found.test_rows_are) == (200, "all rows of other.parquet")


def test_the_training_source_cannot_be_the_test(bundle, source):
    with pytest.raises(DataError, match="rows the encoder never saw"):
        evaluate(bundle, source, "label", test=source)


def test_a_label_that_is_missing_is_refused_with_a_hint(bundle, source):
    with pytest.raises(SchemaError, match="did you mean 'label'"):
        evaluate(bundle, source, "lable")


def test_an_input_of_the_encoder_is_no_label(bundle, source):
    with pytest.raises(SchemaError, match="must not be an input of the encoder"):
        evaluate(bundle, source, "flag")


def test_a_source_without_the_key_needs_a_test_source(bundle, source):
    other = source.with_name("nokey.parquet")
    pq.write_table(make_table().drop_columns("id"), other)
    with pytest.raises(SchemaError, match=r"'id' decides .* pass --test"):
        evaluate(bundle, other, "label")


def test_a_changed_source_is_noted(bundle, source):
    other = source.with_name("later.parquet")
    pq.write_table(make_table(seed=4), other)
    assert any("not as it was" in note for note in evaluate(bundle, other, "label").notes)


@pytest.mark.parametrize("told", ["no", None], ids=["one value", "nulls"])
def test_a_label_not_needed_is_left_aside_when_it_tells_nothing(bundle, source, told):
    other = source.with_name("constant.parquet")
    labels = pa.array([told] * ROWS, pa.string())
    pq.write_table(make_table().set_column(7, "label", labels), other)
    found = evaluate(bundle, other, "label", needs_label=False)
    assert found.label is None
    assert any("was not probed" in note for note in found.notes)
