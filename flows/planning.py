"""The commands that set a project up and let it run by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.console import AsJson, Debug, examples, reporting
from flows.jobs import InitJob
from flows.options import with_options
from pipeline.config import parse

planning_app = typer.Typer()

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


@planning_app.command(epilog=examples("serve parquet2vec.toml"))
def serve(*, config: ProjectFile, as_json: AsJson = False, debug: Debug = False) -> None:
    r"""Run the flows of a project file at the times of its \[schedule], until stopped.

    Needs a Prefect server, named by PREFECT_API_URL.
    """
    with reporting(as_json=as_json, debug=debug) as report:
        from flows.project import load_project

        project = load_project(config)
        from flows.server import prepare_prefect

        prepare_prefect()
        from flows.serving import serve_project, text

        result = serve_project(project, config)
        report(result, text(result))
