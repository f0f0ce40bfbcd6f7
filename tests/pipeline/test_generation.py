"""Drawn rows have the types, the nulls and the shares of the table, or there is no file at all."""

import datetime
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline import generation
from pipeline.bundle import Bundle, Manifest
from pipeline.config import ColumnOverride, GenerationJob
from pipeline.decoding import DECODER, LOGITS, NUMERIC
from pipeline.errors import BundleError, ConfigError, PublishError
from pipeline.generation import Sampler, generate
from pipeline.graph import DOUBLE, FLOAT, STRING, GraphBuilder
from pipeline.manifest import Prior, Stratum
from pipeline.prologue import Prologue
from pipeline.residuals import GENERATION, measure, noisy_slots
from pipeline.schema_inference import infer
from pipeline.transforms.categories import FIRST

ROWS, DRAWN = 4_000, 20_000
DIM = 4


def make_table(rows: int = ROWS, *, seed: int = 0) -> pa.Table:
    """Columns of every type that a feature can have, most with nulls; some hang together."""
    random = np.random.default_rng(seed)
    z = random.normal(size=(rows, 3))

    def some(share: float) -> Any:
        return random.random(rows) < share

    cities = np.array(["Roma", "Oslo", "日本"], object)[np.digitize(z[:, 0], [-0.5, 0.8])]
    lists = random.normal(size=(rows, 3)).tolist()
    return pa.table(
        {
            "amount": pa.array(np.exp(z[:, 0]), mask=some(0.2)),
            "double": pa.array(np.round(2 * z[:, 0] + 0.5 * z[:, 1], 2)),
            "half": pa.array(z[:, 1].astype(np.float16)),
            "single": pa.array(z[:, 1].astype(np.float32), mask=some(0.01)),
            "tiny": pa.array(np.clip(40 * z[:, 1], -128, 127).astype(np.int8), mask=some(0.3)),
            "positive": pa.array((100 * np.exp(z[:, 2])).astype(np.uint64)),
            "dice": pa.array(random.integers(1, 7, rows).astype(np.int32)),
            "price": pa.array(np.round(50 * np.exp(z[:, 1]), 2)).cast(
                pa.decimal128(12, 2), safe=False
            ),
            "truth": pa.array(z[:, 0] + random.normal(size=rows) > 2.5, mask=some(0.1)),
            "day": pa.array((20_000 + 50 * z[:, 2]).astype(np.int32), pa.date32()),
            "moment": pa.array((1.7e9 + 1e6 * z[:, 2]).astype(np.int64), mask=some(0.15)).cast(
                pa.timestamp("s", tz="Europe/Paris")
            ),
            "nanos": pa.array((1.7e18 + 1e15 * z[:, 0]).astype(np.int64)).cast(pa.timestamp("ns")),
            "city": pa.array(cities, mask=some(0.05)),
            "coded": pa.array(cities).cast(pa.dictionary(pa.int8(), pa.large_string())),
            "many": pa.array([f"v{min(int(v), 5_000)}" for v in random.pareto(0.5, rows)]),
            "vector": pa.FixedSizeListArray.from_arrays(
                pa.array(random.normal(size=2 * rows).astype(np.float32)), 2
            ),
            "list": pa.array(
                [None if hit else one for hit, one in zip(some(0.1), lists, strict=True)],
                pa.list_(pa.float64()),
            ),
            "constant": pa.array(np.full(rows, 7, np.int16)),
        }
    )


def write_bundle(
    path: Path, table: pa.Table, *, told: str | None = None, without: str | None = None
) -> Bundle:
    """A bundle that can generate: principal components of the prepared numbers, no torch.

    `told` is a condition that moves every number of a row up; `without` leaves out a file.
    """
    roles = {told: ColumnOverride(role="condition")} if told else {}
    contract = infer(table.schema, table, overrides=roles)
    prologue = Prologue.fit(table.to_batches(), contract)
    prepared = prologue.run(table)
    mean = prepared.numeric.mean(axis=0)
    left, size, right = np.linalg.svd(prepared.numeric - mean, full_matrices=False)
    codes = left[:, :DIM] * np.sqrt(len(left))
    weights = (size[:DIM, None] / np.sqrt(len(left)) * right[:DIM]).astype(np.float32)
    classes = [np.eye(n)[np.minimum(prepared.codes[:, i], n - 1)] for i, n in
               enumerate(prologue.classes)]  # fmt: skip
    scores = (2 * codes.T @ np.concatenate(classes, axis=1) / len(codes)).astype(np.float32)
    residuals = prepared.numeric - mean - codes @ weights
    kept = measure(residuals[:, noisy_slots(prologue)].astype(np.float64), table.schema)
    files = {
        DECODER: decoder(prologue, mean, weights, scores, told=told),
        "spec.json": json.dumps({"prologue": prologue.to_json()}).encode(),
        GENERATION: kept.to_bytes(),
    }
    files.pop(without or "", None)
    manifest = Manifest(
        format=1,
        feature_schema=contract,
        dim=DIM,
        recipe="components",
        latent_names=tuple(f"embedding_{i}" for i in range(DIM)),
        widest_layer=64,
        training_data={"fingerprint": "none", "rows": len(codes)},
        split={},
        versions={},
        parity={},
        conditions=(told,) if told else (),
        prior=Prior(mean=(0.0,) * DIM, factor=tuple(map(tuple, np.eye(DIM).tolist()))),
    )
    return Bundle.write(path, manifest=manifest, files=files)


def decoder(prologue: Prologue, mean: Any, weights: Any, scores: Any, *, told: str | None) -> bytes:
    g = GraphBuilder()
    codes = g.input("embedding", FLOAT, ["batch", DIM])
    numeric = g("Add", g("MatMul", codes, g.constant(weights)), g.constant(mean))
    if told is not None:
        numeric = g("Add", numeric, raised(g, told))
    logits = g("MatMul", codes, g.constant(scores))
    slots = {s.column: i for i, s in reversed([*enumerate(prologue.numeric_slots)])
             if s.view == "value"}  # fmt: skip
    prologue.scalars.inverse(g, numeric, slots)
    prologue.vectors.inverse(g, numeric, slots)
    prologue.categories.inverse(g, logits)
    model = g.model("decoder")
    for part in (model.graph.output, model.graph.node):
        given = [one for one in part if told in (one.name, *getattr(one, "output", ()))]
        for one in given:  # what is told is no output
            part.remove(one)
    names = {numeric: NUMERIC, logits: LOGITS, "told": told or ""}
    for node in model.graph.node:
        for side in (node.input, node.output):
            side[:] = [names.get(one, one) for one in side]
    for given in model.graph.input:
        given.name = names.get(given.name, given.name)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def raised(g: GraphBuilder, told: str) -> str:
    """Three deviations where the condition holds: `city` is Oslo, or `dice` is six."""
    if told == "city":
        value = g.input("told", STRING, ["batch"])
        keys = {"keys_strings": ["Oslo"], "values_int64s": [3], "default_int64": 0}
        code = g("LabelEncoder", value, domain="ai.onnx.ml", **keys)
        hit = g("Cast", code, to=FLOAT)
    else:
        value = g.input("told", DOUBLE, ["batch"])
        at = g("Cast", g("Equal", value, g.constant(6.0, np.float64)), to=FLOAT)
        hit = g("Mul", at, g.constant(3.0, np.float32))
    return g("Unsqueeze", hit, g.constant([1], np.int64))


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return make_table()


@pytest.fixture(scope="module")
def bundle(table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "model", table)


@pytest.fixture(scope="module")
def drawn(bundle: Bundle) -> pa.Table:
    return pa.Table.from_batches([Sampler(bundle).draw(0, DRAWN)])


@pytest.fixture(autouse=True)
def short_pilot(drawn: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not about shares, which `drawn` has, needs no long pilot."""
    monkeypatch.setattr(generation, "PILOT_ROWS", 1_024)


@pytest.fixture
def job(bundle: Bundle, tmp_path: Path) -> Callable[..., GenerationJob]:
    def make(**fields: Any) -> GenerationJob:
        out = str(tmp_path / "drawn.parquet")
        return GenerationJob(**{"bundle": str(bundle.path), "rows": 500, "out": out, **fields})

    return make


def test_a_file_has_the_columns_and_types_of_the_table(
    job: Callable[..., GenerationJob], table: pa.Table, tmp_path: Path
) -> None:
    generate(job())
    found = pq.read_table(job().out)
    found.validate(full=True)
    stored = tmp_path / "table.parquet"  # where Parquet has no such type, it gives another
    pq.write_table(table, stored)
    assert found.schema.equals(pq.read_schema(stored), check_metadata=False)
    assert found.num_rows == 500


def test_a_file_says_which_model_it_was_drawn_from(
    job: Callable[..., GenerationJob], bundle: Bundle
) -> None:
    generate(job())
    said = json.loads(pq.read_schema(job().out).metadata[b"parquet2vec"])
    assert said == {"model": bundle.fingerprint, "generated": True, "where": []}


@pytest.mark.parametrize("name", make_table(10).column_names)
def test_nulls_come_at_their_rate(name: str, table: pa.Table, drawn: pa.Table) -> None:
    rate = table[name].null_count / len(table)
    # Five deviations of a binomial count, and what a pilot of 32,768 rows leaves.
    allowed = 5 * np.sqrt(rate * (1 - rate) * (1 / DRAWN + 1 / 32_768))
    assert abs(drawn[name].null_count / DRAWN - rate) <= allowed


@pytest.mark.parametrize("name", ["amount", "double", "single", "tiny", "positive", "dice",
                                  "moment", "nanos", "day"])  # fmt: skip
def test_numbers_and_times_are_spread_as_in_the_table(
    name: str, table: pa.Table, drawn: pa.Table
) -> None:
    one, other = (numbers(part[name]) for part in (table, drawn))
    points = np.sort(one)
    below = [np.searchsorted(np.sort(part), points, side="right") / len(part) for part in
             (one, other)]  # fmt: skip
    assert np.abs(below[0] - below[1]).max() < 0.025
    assert one.min() - 1_000 * (name == "nanos") <= other.min()
    assert other.max() <= one.max()


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    column = column.drop_null()
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.int32() if pa.types.is_date32(column.type) else pa.int64())
    return column.to_numpy().astype(np.float64)


def test_a_column_of_few_values_takes_only_these(table: pa.Table, drawn: pa.Table) -> None:
    assert set(drawn["dice"].to_pylist()) == set(table["dice"].to_pylist())
    assert set(drawn["constant"].to_pylist()) == {7}


def test_numbers_have_no_more_decimals_than_in_the_table(drawn: pa.Table) -> None:
    values = drawn["double"].to_numpy()
    np.testing.assert_array_equal(values, np.round(values, 2))


@pytest.mark.parametrize("name", ["city", "coded", "truth"])
def test_values_have_the_shares_of_the_table(name: str, table: pa.Table, drawn: pa.Table) -> None:
    one, other = (shares(part[name]) for part in (table, drawn))
    assert one.keys() == other.keys()
    assert max(abs(one[value] - other[value]) for value in one) < 0.02


def shares(column: pa.ChunkedArray) -> dict[Any, float]:
    counted = pc.value_counts(column.combine_chunks()).to_pylist()
    return {one["values"]: one["counts"] / len(column) for one in counted}


def test_text_that_stands_once_is_never_drawn(table: pa.Table, drawn: pa.Table) -> None:
    counts = {v: round(s * len(table)) for v, s in shares(table["many"]).items()}
    seen = set(drawn["many"].to_pylist())
    assert "<rare>" in seen
    assert {counts[value] for value in seen - {"<rare>"}} - {1} == {
        counts[value] for value in seen - {"<rare>"}
    }


def test_columns_hang_together_as_they_do_in_the_table(table: pa.Table, drawn: pa.Table) -> None:
    def together(part: pa.Table) -> list[float]:
        double, tiny = part["double"].to_numpy(), part["half"].to_numpy().astype(np.float64)
        oslo = np.array([value == "Oslo" for value in part["city"].to_pylist()])
        return [np.corrcoef(double, tiny)[0, 1], np.corrcoef(double, oslo)[0, 1]]

    assert np.abs(np.array(together(table)) - together(drawn)).max() < 0.15


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(
    job: Callable[..., GenerationJob], tmp_path: Path
) -> None:
    contents = []
    for place, seed in enumerate((3, 3, 4)):
        out = tmp_path / f"{place}.parquet"
        generate(job(out=str(out), seed=seed))
        contents.append(out.read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_batches_differ_and_do_not_depend_on_those_before(bundle: Bundle) -> None:
    first, again = Sampler(bundle), Sampler(bundle)
    one = [first.draw(batch, 50) for batch in (0, 1)]
    assert one[1].equals(again.draw(1, 50))
    assert not one[1].equals(one[0])


def test_memory_is_that_of_a_batch(
    job: Callable[..., GenerationJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "ROWS_PER_GROUP", 200)
    report = generate(job(rows=500))
    groups = pq.ParquetFile(report.out).metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [200, 200, 100]


def test_pages_have_checksums(job: Callable[..., GenerationJob]) -> None:
    generate(job())
    content = bytearray(Path(job().out).read_bytes())
    content[200] ^= 1
    Path(job().out).write_bytes(content)
    with pytest.raises(OSError, match=r"CRC|checksum"):
        pq.ParquetFile(job().out, page_checksum_verification=True).read()


@pytest.mark.parametrize("error", [OSError(28, os.strerror(28)), KeyboardInterrupt()])
def test_a_run_that_breaks_off_leaves_nothing(
    job: Callable[..., GenerationJob], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(generation, "ROWS_PER_GROUP", 200)
    draw = Sampler.draw

    def breaks(self: Sampler, batch: int, rows: int) -> pa.RecordBatch:
        if batch:
            raise error
        return draw(self, batch, rows)

    monkeypatch.setattr(Sampler, "draw", breaks)
    with pytest.raises(PublishError if isinstance(error, OSError) else KeyboardInterrupt):
        generate(job())
    assert list(Path(job().out).parent.iterdir()) == []


def test_a_file_that_comes_meanwhile_is_not_replaced(
    job: Callable[..., GenerationJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, draw = Path(job().out), Sampler.draw

    def meanwhile(self: Sampler, batch: int, rows: int) -> pa.RecordBatch:
        out.write_text("another's")
        return draw(self, batch, rows)

    monkeypatch.setattr(Sampler, "draw", meanwhile)
    with pytest.raises(ConfigError, match="must not be there yet"):
        generate(job())
    assert [path.read_text() for path in out.parent.iterdir()] == ["another's"]


def test_a_file_that_is_there_is_refused_before_anything_is_opened(
    job: Callable[..., GenerationJob],
) -> None:
    Path(job().out).write_text("kept")
    with pytest.raises(ConfigError, match="must not be there yet"):
        generate(job(bundle="nowhere"))
    assert Path(job().out).read_text() == "kept"


@pytest.mark.parametrize("without", [GENERATION, "spec.json", DECODER])
def test_a_bundle_that_lacks_a_file_is_refused(
    table: pa.Table, tmp_path: Path, without: str
) -> None:
    poor = write_bundle(tmp_path / "poor", table.slice(0, 500), without=without)
    with pytest.raises(BundleError, match=without):
        Sampler(poor)


def test_a_decoder_is_audited_before_it_runs(bundle: Bundle, tmp_path: Path) -> None:
    model = onnx.load_model_from_string(bundle.read(DECODER))
    model.graph.node[0].op_type = "RandomNormalLike"
    names = (DECODER, "spec.json", GENERATION)
    files = {name: bundle.read(name) for name in names} | {DECODER: model.SerializeToString()}
    foreign = Bundle.write(tmp_path / "foreign", manifest=bundle.manifest, files=files)
    with pytest.raises(BundleError, match="RandomNormalLike"):
        Sampler(foreign)


@pytest.mark.parametrize(
    ("field", "value"),
    [("deviation", [1.0]), ("factor", [[1.0, "x"]]), ("arrow_schema", "AAAA"), ("more", 1)],
)
def test_what_is_kept_for_drawing_is_checked(
    bundle: Bundle, tmp_path: Path, field: str, value: Any
) -> None:
    kept = json.loads(bundle.read(GENERATION)) | {field: value}
    files = {name: bundle.read(name) for name in (DECODER, "spec.json")}
    files[GENERATION] = json.dumps(kept).encode()
    odd = Bundle.write(tmp_path / "odd", manifest=bundle.manifest, files=files)
    with pytest.raises(BundleError, match=GENERATION):
        Sampler(odd)


@pytest.fixture(scope="module")
def told(table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("told")
    return {name: write_bundle(folder / name, table, told=name) for name in ("city", "dice")}


@pytest.mark.parametrize(("name", "value"), [("city", "Oslo"), ("dice", 6)])
def test_a_condition_holds_in_every_row_and_moves_the_others(
    told: dict[str, Bundle], name: str, value: Any
) -> None:
    sampler = Sampler(told[name], where=(f"{name}={value}",))
    drawn = sampler.draw(0, 2_000)
    assert set(drawn.column(name).to_pylist()) == {value}
    whole = Sampler(told[name]).draw(0, 2_000)
    assert np.mean(numbers(pa.chunked_array([drawn.column("double")]))) > 1 + np.mean(
        numbers(pa.chunked_array([whole.column("double")]))
    )


def test_conditions_that_nobody_asked_for_are_drawn_as_training_saw_them(
    told: dict[str, Bundle], table: pa.Table
) -> None:
    drawn = pa.Table.from_batches([Sampler(told["city"]).draw(0, DRAWN)])
    one, other = shares(table["city"]), shares(drawn["city"])
    assert max(abs(one[value] - other[value]) for value in one) < 0.02


def test_codes_are_drawn_as_the_rows_that_meet_the_conditions_have_them(
    told: dict[str, Bundle], tmp_path: Path
) -> None:
    one, eye = told["city"], np.eye(DIM)
    roma = FIRST + kept(one).index("Roma")
    own = Stratum(mean=(3.0, 0, 0, 0), factor=rows_of(eye), codes=(roma,), share=0.3)
    prior = Prior(mean=(0.0,) * DIM, factor=rows_of(eye), strata=(own,))
    files = {name: one.read(name) for name in one.manifest.files}
    manifest = one.manifest.model_copy(update={"prior": prior})
    bundle = Bundle.write(tmp_path / "strata", manifest=manifest, files=files)
    means = [
        np.mean(numbers(pa.chunked_array([sampler.draw(0, 2_000).column("double")])))
        for sampler in (Sampler(bundle, where=(f"city={city}",)) for city in ("Roma", "日本"))
    ]
    assert abs(means[0] - means[1]) > 1


def rows_of(factor: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, factor.tolist()))


def kept(bundle: Bundle) -> tuple[Any, ...]:
    """The cities in the order of their codes."""
    prologue = Prologue.from_json(json.loads(bundle.read("spec.json"))["prologue"])
    return next(c.kept for c in prologue.categories.columns if c.column == "city")


@pytest.mark.parametrize(
    ("name", "where", "message"),
    [
        (None, "city=Oslo", "needs a model that was trained with conditions"),
        ("city", "town=Oslo", r"must name a condition of the model \(city\), found 'town'"),
        ("city", "citi=Oslo", "did you mean 'city'"),
        ("city", "city=Atlantis", "value that training saw, one of .*, found 'Atlantis'"),
        ("city", "city=oslo", "did you mean 'Oslo'"),
        ("dice", "dice=7", "a value from 1 to 6, found '7'"),
        ("dice", "dice=six", "a value from 1 to 6, found 'six'"),
    ],
)
def test_a_condition_that_cannot_be_met_is_told(
    bundle: Bundle, told: dict[str, Bundle], name: str | None, where: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Sampler(told[name] if name else bundle, where=(where,))
    assert ConfigError.exit_code == 2


def test_a_table_without_numbers_is_drawn(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    truths = {f"truth_{i}": random.random(500) < 0.2 * (i + 1) for i in range(DIM)}
    bundle = write_bundle(tmp_path / "model", pa.table({"city": ["Rome", "Oslo"] * 250, **truths}))
    drawn = Sampler(bundle).draw(0, 300)
    assert set(drawn["city"].to_pylist()) == {"Rome", "Oslo"}
    assert 0.6 < pc.mean(drawn["truth_3"].cast(pa.int8())).as_py() < 0.95


def test_dates_are_whole_days(drawn: pa.Table) -> None:
    assert isinstance(drawn["day"][0].as_py(), datetime.date)
