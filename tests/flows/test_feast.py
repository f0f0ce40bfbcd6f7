"""Published vectors in a real Feast repository: registered, asked for by time, served online."""

import importlib.util
import runpy
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import pipeline
from flows.feast_definition import HEAD, OURS, Definition, Entity, Feature
from flows.jobs import PublishJob
from flows.project import load_project
from flows.publish import publish
from flows.results import PublishResult
from pipeline import EmbeddingJob
from pipeline.errors import ConfigError, DataError, Parquet2VecError, PublishError, SchemaError
from pipeline.prologue import Prologue
from pipeline.schema_inference import infer

# What Feast 0.67 calls in pandas 2.3, when a part has no row that is asked for.
pytestmark = pytest.mark.filterwarnings("ignore:Downcasting object dtype arrays:FutureWarning")

_FILE = Path(__file__).parents[1] / "pipeline" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("torch_free_bundles", _FILE)
assert _SPEC is not None and _SPEC.loader is not None
_BUNDLES = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_BUNDLES)

HOUR = 3_600_000_000
KEYS = 400
STORE = """
project: shop
provider: local
registry: data/registry.db
online_store:
  type: sqlite
  path: data/online.db
entity_key_serialization_version: 3
"""
OTHERS = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource
from feast.types import Float64
from feast.value_type import ValueType

customer = Entity(name="customer", join_keys=["id"], value_type=ValueType.INT64)
orders = FeatureView(
    name="orders",
    entities=[customer],
    ttl=timedelta(days=1),
    schema=[Field(name="total", dtype=Float64)],
    source=FileSource(name="orders", path={path!r}, timestamp_field="at"),
    tags={{"team": "shop"}},
)
service = FeatureService(name="basket", features=[orders])
"""


def rows(
    day: int, *, keys: range = range(KEYS), seed: int = 0, zone: str | None = "UTC"
) -> pa.Table:
    """Rows of a day: keys beyond 2^53, two rows a key, at hours of their own."""
    random = np.random.default_rng([seed, day])
    ids = np.repeat(np.array(keys), 2)
    hours = 24 * day + np.tile([0, 12], len(keys)) + ids % 12
    return pa.table(
        {
            "id": pa.array(ids + 2**60),
            "at": pa.array(hours * HOUR, pa.timestamp("us", zone)),
            "amount": pa.array(random.normal(size=len(ids))),
            "city": pa.array(random.choice(["Paris", "Ghent", "Ulm"], len(ids))),
        }
    )


class Shop:
    """A table, its vectors, and a Feast repository."""

    def __init__(self, root: Path) -> None:
        self.root, self.source, self.vectors = root, root / "table", root / "vectors"
        self.repository = root / "repo"
        self.source.mkdir()
        self.repository.mkdir()
        (self.repository / "feature_store.yaml").write_text(STORE)

    def write(self, name: str, table: pa.Table) -> None:
        pq.write_table(table, self.source / f"{name}.parquet", write_page_checksum=True)

    def model(self, table: pa.Table, name: str = "model", **roles: Any) -> None:
        roles = {"keys": ["id"], "event_time": "at"} | roles
        fitted = Prologue.fit(table.to_batches(), infer(table.schema, table, **roles))
        _BUNDLES.write_bundle(self.root / name, fitted)

    def embed(self, model: str = "model", **options: Any) -> str:
        job = {"bundle": self.root / model, "source": self.source, "destination": self.vectors}
        words = {name: str(path) for name, path in job.items()}
        return pipeline.embed(EmbeddingJob.model_validate(words | options)).run_id

    def publish(self, **options: Any) -> PublishResult:
        words = {"destination": str(self.vectors), "feast": str(self.repository)}
        return publish(PublishJob.model_validate(words | options))

    @property
    def store(self) -> Any:
        """Feast as another process would open it."""
        from feast import FeatureStore

        return FeatureStore(repo_path=str(self.repository))

    def current(self) -> pd.DataFrame:
        """What readers of `current` see, by key and time."""
        table = pq.read_table(self.vectors / "current")
        vectors = table["embedding"].combine_chunks()
        return pd.DataFrame(
            {
                "id": table["id"].to_numpy(),
                "at": pd.to_datetime(pc.cast(table["at"], pa.int64()).to_numpy(), unit="us"),
                "embedding": list(vectors.flatten().to_numpy().reshape(len(table), -1)),
            }
        ).sort_values(["id", "at"])

    def newest(self) -> dict[int, list[float]]:
        """The vector that each key has last, in `current`."""
        last = self.current().groupby("id").last()["embedding"]
        return {key: vector.tolist() for key, vector in last.items()}

    def online(self, keys: Sequence[int]) -> dict[int, list[float] | None]:
        found = self.store.get_online_features(
            features=["vectors:embedding"], entity_rows=[{"id": key} for key in keys]
        ).to_dict()
        return dict(zip(found["id"], found["embedding"], strict=True))


@pytest.fixture
def empty(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def shop(empty: Shop) -> Shop:
    return two_days(empty)


def two_days(shop: Shop, *, zone: str | None = "UTC") -> Shop:
    """Two days, embedded."""
    for day in range(2):
        shop.write(f"day-{day}", rows(day, zone=zone))
    shop.model(rows(0, zone=zone))
    shop.embed()
    return shop


# ---------------------------------------------------------------------------- what Feast returns


@pytest.mark.parametrize("zone", ["UTC", "Europe/Rome", None])
def test_feast_returns_the_vectors_of_current_for_random_keys_and_times(
    empty: Shop, zone: str | None
) -> None:
    shop = two_days(empty, zone=zone)
    assert bool(shop.publish().notes) == (zone is None)
    random = np.random.default_rng(3)
    asked = pd.DataFrame(
        {
            "id": random.integers(0, KEYS, 1_000) + 2**60,
            "event_timestamp": pd.to_datetime(
                random.integers(12, 60, 1_000) * HOUR + random.integers(-1, 2, 1_000), unit="us"
            ),
        }
    )
    found = shop.store.get_historical_features(
        entity_df=asked.assign(event_timestamp=asked["event_timestamp"].dt.tz_localize("UTC")),
        features=["vectors:embedding"],
    ).to_df()
    truth = shop.current()
    expected = {}
    for key, time in asked.itertuples(index=False):
        before = truth[(truth["id"] == key) & (truth["at"] <= time)]
        expected[key, time.tz_localize("UTC")] = before["embedding"].iloc[-1].tolist()
    got = {
        (key, time): vector.tolist()
        for key, time, vector in found[["id", "event_timestamp", "embedding"]].itertuples(False)
    }
    assert got == expected


def test_online_every_key_has_its_newest_vector(shop: Shop) -> None:
    result = shop.publish(materialize=True)
    assert result.online_run == result.run_id
    newest = shop.newest()
    assert shop.online(list(newest)) == newest


@pytest.mark.parametrize("options", [{"vector": "list"}, {"dtype": "float16"}], ids=str)
def test_lists_and_half_numbers_are_read_too(shop: Shop, options: dict[str, str]) -> None:
    shop.embed(**options)
    shop.publish(materialize=True)
    newest = shop.newest()
    assert shop.online(list(newest)[:20]) == {key: newest[key] for key in list(newest)[:20]}


def test_a_wide_table_is_a_feature_for_each_number(shop: Shop) -> None:
    shop.embed(vector="wide")
    assert shop.publish(materialize=True).features == tuple(f"embedding_{i}" for i in range(4))
    found = shop.store.get_online_features(
        features=["vectors:embedding_0", "vectors:embedding_3"], entity_rows=[{"id": 2**60}]
    ).to_dict()
    table = pq.read_table(shop.vectors / "current", filters=[("id", "=", 2**60)])
    last = table.sort_by("at").to_pylist()[-1]
    assert [found["embedding_0"], found["embedding_3"]] == [
        [last["embedding_0"]],
        [last["embedding_3"]],
    ]


def test_a_row_is_named_by_all_its_keys(empty: Shop) -> None:
    table = rows(0)
    empty.write("day", table)
    empty.model(table, keys=["id", "city"])
    empty.embed()
    assert empty.publish(materialize=True).join_keys == ("id", "city")
    row = pq.read_table(empty.vectors / "current").sort_by("at").to_pylist()[-1]
    found = empty.store.get_online_features(
        features=["vectors:embedding"],
        entity_rows=[{"id": row["id"], "city": city} for city in (row["city"], "nowhere")],
    ).to_dict()
    assert found["embedding"] == [row["embedding"], None]


def test_the_view_says_length_model_and_version(shop: Shop) -> None:
    result = shop.publish()
    view = shop.store.get_feature_view("vectors")
    assert [(f.name, str(f.dtype), f.vector_length) for f in view.features] == [
        ("embedding", "Array(Float32)", 4)
    ]
    assert view.tags == OURS | {"model": result.model, "run": result.run_id}
    assert view.batch_source.path == str(shop.vectors / "current")


# ---------------------------------------------------------------------------- again and again


def test_given_again_it_changes_nothing_and_loads_nothing(shop: Shop) -> None:
    first = shop.publish(materialize=True)
    definition = Path(first.definition)
    before, view = definition.stat().st_mtime_ns, shop.store.get_feature_view("vectors")
    again = shop.publish(materialize=True)
    assert again.loaded_from is None
    assert definition.stat().st_mtime_ns == before
    assert shop.store.get_feature_view("vectors") == view


def test_a_new_day_is_seen_and_only_its_rows_are_loaded(shop: Shop) -> None:
    store = shop.store
    shop.publish(materialize=True)
    shop.write("day-2", rows(2))
    shop.embed()
    result = shop.publish(materialize=True)
    assert result.loaded_from == (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=2)).isoformat()
    newest = shop.newest()
    assert shop.online(list(newest)) == newest
    asked = pd.DataFrame({"id": [2**60], "event_timestamp": [pd.Timestamp("1971", tz="UTC")]})
    found = store.get_historical_features(entity_df=asked, features=["vectors:embedding"]).to_df()
    assert found["embedding"].iloc[0].tolist() == newest[2**60]


def test_a_day_that_comes_late_does_not_hide_what_followed_it(empty: Shop) -> None:
    for day in (0, 2):
        empty.write(f"day-{day}", rows(day))
    empty.model(rows(0))
    empty.embed()
    empty.publish(materialize=True)
    empty.write("day-1", rows(1))
    empty.embed()
    assert empty.publish(materialize=True).loaded_from == "1970-01-02T00:00:00+00:00"
    newest = empty.newest()
    assert empty.online(list(newest)) == newest


def test_a_corrected_day_loads_everything(shop: Shop) -> None:
    shop.publish(materialize=True)
    shop.write("day-1", rows(1, keys=range(0, KEYS, 2), seed=5))
    shop.embed()
    assert shop.publish(materialize=True).loaded_from == "1970-01-01T00:00:00+00:00"
    newest = shop.newest()
    assert shop.online(list(newest)) == newest


def test_online_follows_a_rollback(shop: Shop) -> None:
    before = shop.publish(materialize=True).run_id
    shop.write("day-2", rows(2))
    shop.embed()
    shop.publish(materialize=True)
    pipeline.rollback(shop.vectors)
    assert shop.publish(materialize=True).online_run == before
    newest = shop.newest()
    assert shop.online(list(newest)) == newest


def test_online_never_mixes_two_models(shop: Shop) -> None:
    shop.publish(materialize=True)
    shop.write("day-0", rows(0, keys=range(10)))
    (shop.source / "day-1.parquet").unlink()
    shop.model(rows(7), "other")
    shop.embed("other")
    shop.publish(materialize=True)
    newest = shop.newest()
    gone = [key + 2**60 for key in range(10, KEYS)]
    assert shop.online([*newest, *gone]) == newest | dict.fromkeys(gone)


def test_a_load_that_was_cut_short_is_done_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.publish(materialize=True)
    shop.write("day-2", rows(2))
    shop.embed()
    with monkeypatch.context() as broken:
        broken.setattr("flows.feast_repository.FeastRepository.load", _no_disk)
        with pytest.raises(PublishError, match="no disk"):
            shop.publish(materialize=True)
    assert "online_run" not in shop.store.get_feature_view("vectors").tags
    assert shop.publish(materialize=True).loaded_from == "1970-01-01T00:00:00+00:00"


def _no_disk(*_: object) -> None:
    raise PublishError("no disk")


def test_a_version_published_while_another_is_loaded_is_told(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        shop.write("day-2", rows(2))
        shop.embed()

    monkeypatch.setattr("flows.feast_repository.FeastRepository.load", load)
    with pytest.raises(PublishError, match="another one current now; publish to Feast again"):
        shop.publish(materialize=True)


def test_a_pointer_that_moves_while_feast_reads_is_an_error_and_no_mix(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feast.infra.offline_stores import dask as local

    shop.publish()
    read = local.dd.read_parquet

    def listed_then_moved(*args: Any, **options: Any) -> Any:
        found = read(*args, **options)
        found.columns  # noqa: B018 - lists the folder
        shop.write("day-1", rows(1, seed=9))
        shop.embed()
        return found

    monkeypatch.setattr(local.dd, "read_parquet", listed_then_moved)
    asked = pd.DataFrame({"id": [2**60], "event_timestamp": [pd.Timestamp("1971", tz="UTC")]})
    job = shop.store.get_historical_features(entity_df=asked, features=["vectors:embedding"])
    with pytest.raises(FileNotFoundError):
        job.to_df()


@pytest.mark.flows
def test_a_flow_makes_known_what_it_embedded(shop: Shop, prefect: None) -> None:
    project = shop.root / "parquet2vec.toml"
    project.write_text(
        '[embed]\nbundle = "model"\nsource = "table"\ndestination = "vectors"\n'
        '[publish]\nfeast = "repo"\nmaterialize = true\n'
    )
    from flows.embed import embed

    shop.write("day-2", rows(2))
    tables = load_project(project)
    report = embed(tables.embed, tables.publish)
    assert shop.store.get_feature_view("vectors").tags["online_run"] == report.run_id
    newest = shop.newest()
    assert shop.online(list(newest)) == newest


# ---------------------------------------------------------------------------- what is the user's


def register_others(shop: Shop) -> None:
    """A feature view, an entity and a service of the repository's own, with other data."""
    orders = shop.root / "orders.parquet"
    table = rows(0)
    pq.write_table(table.select(["id", "at"]).append_column("total", table["amount"]), orders)
    path = shop.repository / "definitions.py"
    path.write_text(OTHERS.format(path=str(orders)))
    from feast import Entity, FeatureService, FeatureView

    found = runpy.run_path(str(path)).values()
    shop.store.apply(
        [one for one in found if isinstance(one, Entity | FeatureView | FeatureService)]
    )


def others(shop: Shop) -> list[str]:
    """What the registry says of everything that is not ours."""
    store = shop.store
    found = [store.get_feature_view("orders"), store.get_feature_service("basket")]
    return [
        str(one) for one in [*found, store.get_entity("customer"), store.get_data_source("orders")]
    ]


def test_other_definitions_are_not_touched(shop: Shop) -> None:
    register_others(shop)
    before = others(shop)
    shop.publish(materialize=True)
    assert others(shop) == before
    views = [view.name for view in shop.store.list_all_feature_views()]
    assert sorted(views) == ["orders", "vectors"]


def test_the_repositorys_own_entity_is_used_for_its_key(shop: Shop) -> None:
    register_others(shop)
    shop.publish()
    view = shop.store.get_feature_view("vectors")
    assert view.entities == ["customer"]
    assert [e.name for e in shop.store.list_entities()] == ["customer"]
    asked = pd.DataFrame(
        {"id": [2**60], "event_timestamp": [pd.Timestamp("1970-01-01T12", tz="UTC")]}
    )
    found = shop.store.get_historical_features(
        entity_df=asked, features=["vectors:embedding", "orders:total"]
    ).to_df()
    rows_then = shop.current().query("id == 2**60 and at <= '1970-01-01T12'")
    assert found["embedding"].iloc[0].tolist() == rows_then["embedding"].iloc[-1].tolist()


@pytest.mark.slow
def test_feast_apply_keeps_what_was_published(shop: Shop) -> None:
    register_others(shop)
    shop.publish(materialize=True)
    command = Path(sys.executable).with_name("feast")
    done = subprocess.run([command, "apply"], cwd=shop.repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = shop.publish(materialize=True)
    assert result.loaded_from is None
    assert {"orders", "vectors"} == {v.name for v in shop.store.list_all_feature_views()}
    newest = shop.newest()
    assert shop.online(list(newest)) == newest


# ---------------------------------------------------------------------------- what is refused


def refused(shop: Shop, **options: Any) -> Parquet2VecError:
    with pytest.raises(Parquet2VecError) as caught:
        shop.publish(**options)
    return caught.value


def embedded(shop: Shop, table: pa.Table, **roles: Any) -> Shop:
    shop.write("day", table)
    shop.model(table, **roles)
    shop.embed()
    return shop


def with_column(name: str, values: pa.Array) -> pa.Table:
    table = rows(0)
    return table.set_column(table.schema.names.index(name), name, values)


TWICE = 2 * KEYS
REFUSED: dict[str, tuple[Callable[[], pa.Table], dict[str, Any], type[Exception], str]] = {
    "no event time": (lambda: rows(0), {"event_time": None}, SchemaError, "one timestamp column"),
    "no key": (lambda: rows(0), {"keys": []}, SchemaError, "must have a key"),
    "dates": (
        lambda: with_column("at", pa.array([1] * TWICE, pa.date32())),
        {},
        SchemaError,
        "dates (at)",
    ),
    "a null key": (
        lambda: with_column("id", pa.array([None, *range(TWICE - 1)], pa.int64())),
        {},
        DataError,
        "found 1 null cells of keys and 0 of 'at'",
    ),
    "a null time": (
        lambda: with_column("at", pa.array([None, *range(TWICE - 1)], pa.timestamp("us"))),
        {},
        DataError,
        "found 0 null cells of keys and 1 of 'at'",
    ),
    "a key of 64 bits": (
        lambda: with_column("id", pa.array(range(TWICE), pa.uint64())),
        {},
        SchemaError,
        "found uint64",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_that_feast_would_get_wrong_is_refused(empty: Shop, case: str) -> None:
    make, roles, kind, words = REFUSED[case]
    error = refused(embedded(empty, make(), **roles))
    assert type(error) is kind
    assert words in str(error)
    assert not (empty.repository / "parquet2vec_vectors.py").exists()


def test_a_name_that_is_taken_is_refused(shop: Shop) -> None:
    register_others(shop)
    assert "found a feature view orders" in str(refused(shop, name="orders"))
    assert "found it over another folder" not in str(refused(shop, name="orders"))


def test_a_view_over_another_destination_is_refused(shop: Shop) -> None:
    shop.publish(name="codes")
    shop.vectors = shop.root / "elsewhere"
    shop.embed()
    assert "found it over another folder" in str(refused(shop, name="codes"))


def test_a_file_of_somebody_else_is_refused(shop: Shop) -> None:
    mine = shop.repository / "parquet2vec_vectors.py"
    mine.write_text("# mine\n")
    assert isinstance(refused(shop), ConfigError)
    assert mine.read_text() == "# mine\n"


def test_an_entity_of_another_type_is_refused(empty: Shop) -> None:
    register_others(empty)
    table = rows(0)
    text = table.set_column(0, "id", pc.cast(table["id"], pa.string()))
    error = refused(embedded(empty, text))
    assert "entity customer" in str(error)
    assert "must have type STRING" in str(error)


def test_a_folder_that_is_no_repository_is_refused(shop: Shop) -> None:
    (shop.repository / "feature_store.yaml").unlink()
    assert "must be a Feast repository" in str(refused(shop))


def test_a_repository_that_feast_refuses_is_told(shop: Shop) -> None:
    (shop.repository / "feature_store.yaml").write_text("project: 1-2\n")
    assert str(refused(shop)).startswith("Feast could not open")


def test_an_object_store_is_refused(shop: Shop) -> None:
    assert "and a store has none" in str(refused(shop, destination="s3://lake/vectors"))


def test_what_stands_in_the_file_is_what_was_meant(tmp_path: Path) -> None:
    odd = 'it\'s "odd"\\\n{}\u2028é'
    definition = Definition(
        name="view",
        path=odd,
        event_time=odd,
        entities=(Entity("customer", odd, "INT64", True), Entity(odd, odd + "2", "STRING", False)),
        features=(Feature("embedding", 3), Feature("reconstruction_error")),
        ttl_seconds=1.5,
        tags={"model": odd},
    )
    path = tmp_path / "definition.py"
    path.write_text(definition.text(), encoding="utf-8")
    found = runpy.run_path(str(path))
    view = found["view"]
    assert definition.text().startswith(HEAD)
    assert (view.batch_source.path, view.batch_source.timestamp_field) == (odd, odd)
    assert (view.tags, view.ttl) == ({"model": odd}, timedelta(seconds=1.5))
    assert view.entities == ["customer", odd]
    assert "entity_1" not in found
    assert ([found["entity_0"]], view) == definition.objects()


def test_the_command_prints_one_document(shop: Shop, cli_here: Callable[..., Any]) -> None:
    words = ["--feast", shop.repository, "--ttl", "30d", "--materialize", "--json"]
    done = cli_here("publish", shop.vectors, *words)
    assert done.code == 0, done.err
    assert done.document["online_run"] == done.document["run_id"]
    assert shop.store.get_feature_view("vectors").ttl == timedelta(days=30)
