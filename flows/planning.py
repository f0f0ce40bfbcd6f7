"""The commands that set a project up and let it run by itself."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flows.console import AsJson, Debug, ProjectFile, examples, reporting
from flows.jobs import InitJob
from flows.options import with_options
from pipeline.config import parse

planning_app = typer.Typer()


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
