"""The commands that run as Prefect flows: each reads its job from a project file."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flows.console import AsJson, Debug, ProjectFile, examples, reporting
from flows.monitor_command import FailOnDrift, fail_if_drifted
from flows.options import with_options
from flows.project import drift_job, flow_settings, load_project, refresh_job, required
from flows.runners import FlowSettings

flow_app = typer.Typer(no_args_is_help=True)


@flow_app.command("train", epilog=examples("flow train parquet2vec.toml"))
@with_options(FlowSettings)
def flow_train(
    given: dict[str, Any],
    *,
    config: ProjectFile,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    r"""Train as a Prefect flow: the \[train] table of the project file."""
    with reporting(as_json=as_json, debug=debug, resumes=True) as report:
        job = required(load_project(config).train, "train", config)
        settings = flow_settings(given, path=config)
        runs, texts = _prefect()
        result = runs.run_train(job, settings)
        report(result, texts.training(result))


@flow_app.command(
    "embed",
    epilog=examples(
        "flow embed parquet2vec.toml",
        "flow embed parquet2vec.toml --runner dask --dask-address tcp://scheduler:8786",
    ),
)
@with_options(FlowSettings)
def flow_embed(
    given: dict[str, Any],
    *,
    config: ProjectFile,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    r"""Embed as a Prefect flow: the \[embed] table of the project file."""
    with reporting(as_json=as_json, debug=debug, resumes=True) as report:
        project = load_project(config)
        job = required(project.embed, "embed", config)
        settings = flow_settings(given, path=config)
        runs, texts = _prefect()
        result = runs.run_embed(job, settings, project.publish)
        report(result, texts.embedding(result))


@flow_app.command("refresh", epilog=examples("flow refresh parquet2vec.toml"))
@with_options(FlowSettings)
def flow_refresh(
    given: dict[str, Any],
    *,
    config: ProjectFile,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train a candidate, promote it when it is not worse, embed with the promoted model."""
    with reporting(as_json=as_json, debug=debug, resumes=True) as report:
        job = refresh_job(config)
        settings = flow_settings(given, path=config)
        runs, texts = _prefect()
        result = runs.run_refresh(job, settings)
        report(result, texts.refresh(result))


@flow_app.command("monitor", epilog=examples("flow monitor parquet2vec.toml"))
@with_options(FlowSettings)
def flow_monitor(
    given: dict[str, Any],
    *,
    config: ProjectFile,
    fail_on_drift: FailOnDrift = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    r"""Look for drift in what was embedded last; refresh if \[monitor] says so."""
    with reporting(as_json=as_json, debug=debug) as report:
        job = drift_job(config)
        settings = flow_settings(given, path=config)
        runs, texts = _prefect()
        result = runs.run_monitor(job, settings)
        report(result, texts.monitoring(result))
        fail_if_drifted(result.drift, wanted=fail_on_drift)


@flow_app.command(
    "backfill",
    epilog=examples(
        "flow backfill parquet2vec.toml --from 2026-01-01 --to 2026-03-31",
        "flow backfill parquet2vec.toml --from 2026-01-01 --to 2026-01-31 --bundle new-model",
    ),
)
@with_options(FlowSettings)
def flow_backfill(
    given: dict[str, Any],
    *,
    config: ProjectFile,
    first_day: Annotated[str, typer.Option("--from", metavar="DAY", help="First day.")],
    last_day: Annotated[str, typer.Option("--to", metavar="DAY", help="Last day, included.")],
    bundle: Annotated[
        str | None, typer.Option("--bundle", help="Another model than that of the project file.")
    ] = None,
    destination: Annotated[
        str | None,
        typer.Option(
            "--destination", help="Folder to publish to; default: that of \\[embed] and .backfill."
        ),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Embed the files with rows of some days, as a table beside the nightly one.

    The same days again cost nothing; more days add to what is there; a killed run goes on. A run
    of `embed` with prepared set to this destination takes its parts over.
    """
    with reporting(as_json=as_json, debug=debug, resumes=True) as report:
        from flows.backfill import backfill_job

        said = {"bundle": bundle, "destination": destination}
        job = backfill_job(
            config,
            first_day=first_day,
            last_day=last_day,
            **{name: value for name, value in said.items() if value is not None},
        )
        settings = flow_settings(given, path=config)
        runs, texts = _prefect()
        result = runs.run_embed(job, settings)
        report(result, texts.embedding(result))


def _prefect() -> tuple[Any, Any]:
    """The flows, imported after Prefect's settings are in place, and the texts."""
    from flows.server import prepare_prefect

    prepare_prefect()
    from flows import runs, texts

    return runs, texts
