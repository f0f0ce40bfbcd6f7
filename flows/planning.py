"""The commands that set a project up and let it run by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.console import AsJson, Debug, examples, reporting
from flows.jobs import InitJob
from flows.options import with_options
from flows.runners import FlowSettings
from pipeline.config import parse

planning_app = typer.Typer()
flow_planning_app = typer.Typer()

ProjectFile = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="Project file, such as parquet2vec.toml.")
]


@planning_app.command(
    epilog=examples(
        "init features",
        "init features --bundle model --dest embeddings --cron '0 3 * * *'",
        "init features --models models --timezone Europe/Berlin",
    )
)
@with_options(InitJob, arguments=("source",))
def init(given: dict[str, Any], *, as_json: AsJson = False, debug: Debug = False) -> None:
    """Look at a table and write a project file for it, every line explained.

    Keys and event time are guessed; what may be a label is named in a comment.
    """
    with reporting(as_json=as_json, debug=debug) as report:
        job = parse(InitJob, given, where="init")
        from flows.initial import initialise, text

        result = initialise(job)
        report(result, text(result))


@planning_app.command(
    epilog=examples("serve parquet2vec.toml", "serve parquet2vec.toml --work-pool lake")
)
def serve(
    *,
    config: ProjectFile,
    work_pool: Annotated[
        str | None,
        typer.Option("--work-pool", help="Hand the runs to the workers of this pool, and end."),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    r"""Run the flows of a project file at the times of its \[schedule], until stopped.

    Needs a Prefect server, named by PREFECT_API_URL.
    """
    with reporting(as_json=as_json, debug=debug) as report:
        from flows.project import load_project

        project = load_project(config)
        from flows.server import prepare_prefect

        prepare_prefect()
        from flows.serving import hand_over, serve_project, text

        if work_pool is not None:
            result = hand_over(project, config, pool=work_pool)
        else:
            result = serve_project(project, config)
        report(result, text(result))


@flow_planning_app.command(
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
        from flows.project import flow_settings

        said = {"bundle": bundle, "destination": destination}
        job = backfill_job(
            config,
            first_day=first_day,
            last_day=last_day,
            **{name: value for name, value in said.items() if value is not None},
        )
        settings = flow_settings(given, path=config)
        from flows.server import prepare_prefect

        prepare_prefect()
        from flows import runs, texts

        result = runs.run_embed(job, settings)
        report(result, texts.embedding(result))
