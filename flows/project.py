"""The project file, parquet2vec.toml: the same jobs as the command line, kept in a file.

::

    [train]  # fields of TrainingJob
    source = "features"
    label = ["late"]
    out = "model"  # needed where there is no [refresh], which has versions of its own

    [embed]  # fields of EmbeddingJob
    bundle = "model"  # models/production unless said, when [refresh] names the models
    source = "features"
    destination = "embeddings"

    [refresh]  # for `flow refresh` only
    models = "models"
    margin = 0.01

    [publish]  # for the flows that embed: fields of PublishSettings
    feast = "feature_repo"

    [monitor]  # drift is looked for after each scheduled embed: fields of MonitorSettings
    refresh = false

    [flow]  # for the flows: fields of FlowSettings
    runner = "dask"
    dask_address = "tcp://scheduler:8786"

    [schedule.embed]  # for `serve`: fields of FlowSchedule; [schedule.refresh] likewise
    cron = "0 3 * * *"

Relative paths count from the file's own folder, so that a scheduler may start anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from flows.jobs import DriftJob, MonitorSettings, PublishSettings, RefreshJob, RefreshSettings
from flows.runners import FlowSettings
from flows.schedule import Schedule
from pipeline.config import Config, EmbeddingJob, load_toml, parse
from pipeline.errors import ConfigError
from pipeline.locations import PRODUCTION
from training.spec import TrainingJob

_PATHS = ("source", "out", "bundle", "destination", "models", "feast", "prepared")
_Table = TypeVar("_Table")


class Project(Config):
    """A project file's tables, each checked."""

    train: TrainingJob | None = Field(default=None, description="What `train` does.")
    embed: EmbeddingJob | None = Field(default=None, description="What `embed` does.")
    refresh: RefreshSettings | None = Field(default=None, description="What `refresh` adds.")
    publish: PublishSettings | None = Field(
        default=None, description="Where flows make known what they embedded."
    )
    monitor: MonitorSettings | None = Field(
        default=None, description="What follows when what was embedded has drifted."
    )
    flow: FlowSettings = Field(default=FlowSettings(), description="Where flows run.")
    schedule: Schedule | None = Field(default=None, description="When flows run, under `serve`.")


def load_project(path: str | Path) -> Project:
    """The project file at `path`.

    Raises:
        ConfigError: if it cannot be read, or naming every wrong field as ``$.train.dim``.
    """
    return parse(Project, _read(path))


def training_job(given: Mapping[str, Any], *, path: str | Path | None = None) -> TrainingJob:
    """The training job `given` on the command line, over the [train] table of a project file."""
    tables = _read(path) if path is not None else {}
    values = {**tables.get("train", {}), **given}
    for field, option in (("source", "SOURCE"), ("out", "--out")):
        if field not in values:
            raise ConfigError(
                f"{option} is required: give it, or name a --config file whose [train] has {field}"
            )
    return required(parse(Project, {**tables, "train": values}).train, "train", path)


def refresh_job(path: str | Path) -> RefreshJob:
    """The refresh that the project file at `path` describes, out of all its tables."""
    return refresh_of(load_project(path), path)


def refresh_of(project: Project, path: str | Path) -> RefreshJob:
    """The refresh that `project`, read from the file at `path`, describes."""
    settings = required(project.refresh, "refresh", path)
    return RefreshJob(
        **dict(settings),
        train=required(project.train, "train", path),
        embed=required(project.embed, "embed", path),
        publish=project.publish,
    )


def drift_job(path: str | Path) -> DriftJob:
    """The monitoring that the project file at `path` describes."""
    project = load_project(path)
    return drift_of(project, project.monitor or MonitorSettings(), path)


def drift_of(project: Project, settings: MonitorSettings, path: str | Path) -> DriftJob:
    """The monitoring of what `project`, read from the file at `path`, embeds."""
    return DriftJob(
        destination=required(project.embed, "embed", path).destination,
        refresh=refresh_of(project, path) if settings.refresh else None,
        pause=settings.pause,
    )


def flow_settings(given: Mapping[str, Any], *, path: str | Path) -> FlowSettings:
    """Where a flow runs: `given` on the command line, over the environment, over the [flow] table.

    Raises:
        ConfigError: if a cluster is given to a runner that is not Dask.
    """
    tables = _read(path)
    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    values = {**tables.get("flow", {}), **({"dask_address": address} if address else {}), **given}
    settings = parse(Project, {**tables, "flow": values}).flow
    if "dask_address" in given and settings.runner != "dask":
        raise ConfigError(
            f"--dask-address needs --runner dask, found {settings.runner}; leave one of them out"
        )
    return settings


def required(table: _Table | None, name: str, path: str | Path | None) -> _Table:
    """`table` itself; ConfigError if the project file at `path` has none of that `name`."""
    if table is None:
        raise ConfigError(f"{path} must have a table [{name}], found none; add it")
    return table


def _read(path: str | Path) -> dict[str, Any]:
    """The tables of a project file, unchecked: paths made absolute, models filled in."""
    folder = Path(path).absolute().parent
    tables = {name: _absolute(table, folder) for name, table in load_toml(path).items()}
    models = tables["refresh"].get("models") if isinstance(tables.get("refresh"), dict) else None
    if isinstance(models, str):
        for name, field, default in (
            ("train", "out", str(folder / "model")),
            ("embed", "bundle", f"{models}/{PRODUCTION}"),
        ):
            if isinstance(tables.get(name), dict):
                tables[name].setdefault(field, default)
    return tables


def _absolute(table: Any, folder: Path) -> Any:
    if not isinstance(table, dict):
        return table  # refused, with its path, when the tables are checked
    return {
        name: str(folder / value) if name in _PATHS and _is_local(value) else value
        for name, value in table.items()
    }


def _is_local(value: Any) -> bool:
    return isinstance(value, str) and "://" not in value
