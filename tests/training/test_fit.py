import itertools
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.errors import ConfigError, DataError, LockedError, PublishError, SchemaError
from pipeline.storage import lock
from training.candidates import embed_rows
from training.checkpoint import Checkpoint
from training.fit import fit, work_folder
from training.spec import TrainingConfig, TrainingJob

FEATURES = ("income", "age", "spend", "member", "city", "plan", "picture", "seen")
SHORT = TrainingConfig(steps=40, rows_per_batch=64, evaluate_every=20, checkpoint_every=10)


class KilledError(Exception):
    pass


class KillAfter:
    """A progress that ends the run after some reports, as kill -9 would."""

    def __init__(self, reports: int):
        self.reports = itertools.count(1 - reports)

    def start(self, what, total):
        pass

    def advance(self, n, **figures):
        if next(self.reports) == 0:
            raise KilledError

    def finish(self):
        pass


def job(source, out="bundle", **more) -> TrainingJob:
    settings = {"recipe": "denoising", "key": ("id",), "label": ("label",), "training": SHORT}
    return TrainingJob(source=str(source), out=str(source.parent / out), **{**settings, **more})


def same(one: Checkpoint, two: Checkpoint) -> bool:
    pairs = zip(one.module.state_dict().values(), two.module.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_label_and_key_are_never_features(source):
    checkpoint = fit(job(source, recipe="linear"))
    names = {column.name for column in checkpoint.prologue.schema.features}
    assert names.isdisjoint({"label", "id"})
    assert set(checkpoint.held_out.column_names) == names


def test_a_checkpoint_survives_the_disk(source, tmp_path):
    checkpoint = fit(job(source))
    checkpoint.save(tmp_path / "saved")
    loaded = Checkpoint.load(tmp_path / "saved")
    assert same(checkpoint, loaded)
    assert loaded.split == checkpoint.split
    assert loaded.spec == checkpoint.spec
    assert not loaded.module.training
    prepared = loaded.prologue.run(checkpoint.held_out)
    codes = [embed_rows(c.module, c.prologue.run(c.held_out)) for c in (checkpoint, loaded)]
    assert len(prepared.codes) > 50
    assert np.array_equal(*codes)


@pytest.mark.parametrize("reports", [1, 3, 25, 42])
def test_a_killed_run_goes_on_and_ends_like_one_that_was_not(source, reports):
    whole = fit(job(source))
    shutil.rmtree(work_folder(job(source).out))
    with pytest.raises(KilledError):
        fit(job(source), progress=KillAfter(reports))
    assert same(whole, fit(job(source)))


def test_another_job_never_resumes_from_a_work_folder(source):
    with pytest.raises(KilledError):
        fit(job(source), progress=KillAfter(30))
    first = fit(job(source, seed=1))
    shutil.rmtree(work_folder(job(source).out))
    assert same(first, fit(job(source, seed=1)))


def test_auto_reports_every_candidate_and_the_winner(source):
    checkpoint = fit(job(source, recipe="auto"))
    told = json.loads(json.dumps(checkpoint.selection))
    assert set(told["scores"]) == set(checkpoint.history)
    assert told["winner"] == checkpoint.spec.recipe
    assert "label" in told["criterion"]


def test_auto_needs_no_label(source):
    checkpoint = fit(job(source, recipe="auto", label=(), ignore=("label",)))
    assert "hidden" in checkpoint.selection["criterion"]


def test_max_rows_bounds_the_matrix_whatever_the_batches(source):
    checkpoint = fit(job(source, training=SHORT.model_copy(update={"max_rows": 300})))
    assert 180 < checkpoint.training_data["rows"] < 300


def test_an_event_time_splits_by_time(source):
    checkpoint = fit(job(source, recipe="linear", event_time="seen"))
    assert checkpoint.split.rule == "time"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": ("lable",)}, "lable"),
        ({"key": ("di",)}, "'di'"),
        ({"event_time": "income"}, "income"),
        ({"ignore": FEATURES}, "feature"),
    ],
)
def test_a_job_that_does_not_fit_the_table_is_refused(source, change, message):
    with pytest.raises(SchemaError, match=message):
        fit(job(source, **change))


def test_an_unknown_recipe_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigError, match="deep"):
        fit(job(tmp_path / "nowhere", recipe="deep"))


def test_a_column_of_nulls_is_refused_by_name(source):
    for name in ("a", "b"):
        table = pq.read_table(source / f"{name}.parquet")
        empty = pa.nulls(table.num_rows, pa.float64())
        pq.write_table(table.append_column("void", empty), source / f"{name}.parquet")
    with pytest.raises(SchemaError, match="'void'"):
        fit(job(source))


def test_an_empty_source_is_refused(source):
    (source / "b.parquet").unlink()
    table = pq.read_table(source / "a.parquet")
    pq.write_table(table.slice(0, 0), source / "a.parquet")
    with pytest.raises(DataError, match="10 rows or more, found 0"):
        fit(job(source))


@pytest.mark.parametrize("columns", [["income"], ["city"], ["picture"], ["member"], ["seen"]])
@pytest.mark.parametrize("recipe", ["linear", "joint"])
def test_a_table_of_one_kind_of_column_trains(source, columns, recipe):
    for name in ("a", "b"):
        table = pq.read_table(source / f"{name}.parquet")
        pq.write_table(table.select(columns), source / f"{name}.parquet")
    tiny = SHORT.model_copy(update={"steps": 5})
    checkpoint = fit(job(source, key=(), label=(), recipe=recipe, training=tiny))
    codes = embed_rows(checkpoint.module, checkpoint.prologue.run(checkpoint.held_out))
    assert np.isfinite(codes).all()


def test_two_runs_for_one_bundle_do_not_mix(source):
    asked = job(source)
    work_folder(asked.out).mkdir()
    with lock(work_folder(asked.out) / "lock"), pytest.raises(LockedError):
        fit(asked)


def test_an_output_that_cannot_be_written_is_refused(source):
    (source.parent / "file").write_text("")
    with pytest.raises(PublishError, match="cannot write"):
        fit(job(source, out="file/bundle"))
