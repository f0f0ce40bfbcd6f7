"""The command line: parse, call, report. Torch, Arrow and Prefect load with the command's work."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from flows import logs
from flows.console import AsJson, Commands, Debug, examples, reporting
from flows.flow_commands import flow_app
from flows.jobs import ComparedGenerationJob, EvaluationJob
from flows.models import models_app
from flows.monitor_command import monitor_app
from flows.options import with_options
from flows.planning import planning_app
from flows.progress import console_progress
from flows.project import training_job
from flows.publish_command import publish_app
from flows.versions import versions_app
from pipeline.config import EmbeddingJob, parse
from training.spec import TrainingJob

app = typer.Typer(
    name="parquet2vec",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(versions_app)
app.add_typer(planning_app)
app.add_typer(publish_app)
app.add_typer(monitor_app)
app.add_typer(
    models_app, name="models", help="Versions of a model: list, compare, promote, roll back."
)
app.add_typer(
    flow_app, name="flow", help="Train, embed, refresh, monitor or backfill as a Prefect flow."
)


def main() -> None:
    """Run the command line."""
    # Our packages have everyday names: no child process may find a user's `flows` folder instead.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    # Read when Arrow loads. Its own allocator keeps what it once held: more memory, and more CPU
    # spent on fresh pages.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # Threads of linear algebra that have nothing to do yet spin for a tenth of a CPU second.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    # A name that the terminal's encoding lacks is shown with question marks, and fails nothing.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    app(prog_name="parquet2vec")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("parquet2vec"))
        raise typer.Exit


@app.callback(
    help=(
        "Turn Parquet tables into small dense vectors.\n\n"
        "Train once on a table, get one ONNX bundle, embed next to the data without torch, publish "
        "versions that readers never see half-done.\n\n"
        "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 input refused, 4 locked "
        "by another run, 130 interrupted."
    ),
    epilog=examples(
        "demo",
        "train features --out model --key customer_id --label churned",
        "embed model features embeddings",
    ),
)
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    log_format: Annotated[
        logs.LogFormat,
        typer.Option(
            "--log-format",
            envvar=logs.LOG_FORMAT,
            help="What goes to standard error: words, or one JSON object a line.",
        ),
    ] = "text",
) -> None:
    """Turn Parquet tables into small dense vectors."""
    logs.set_up(log_format)


@app.command(epilog=examples("demo", "demo --out /tmp/flights"))
def demo(
    *,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for table, model, vectors, report.")
    ] = Path("parquet2vec-demo"),
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Real flights, end to end: train, promote, embed, then a new month arrives."""
    with reporting(as_json=as_json, debug=debug) as report:
        from flows.demo import run_demo, text

        with console_progress() as progress:
            result = run_demo(out, progress=progress)
        report(result, text(result))


@app.command(
    epilog=examples(
        "train features --out model",
        "train features --out model --key flight_id --event-time departure --label late",
        "train --config parquet2vec.toml",
    )
)
@with_options(TrainingJob, arguments=("source",), needed=False)
def train(
    given: dict[str, Any],
    *,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Project file; options here overrule it."),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Learn from a table and write a bundle, checked and measured.

    A killed run goes on where it stopped when the same command is given again.
    """
    with reporting(as_json=as_json, debug=debug, resumes=True) as report:
        job = training_job(given, path=config)
        from flows import texts, verbs

        with console_progress() as progress:
            result = verbs.train(job, progress=progress)
        report(result, texts.training(result))


@app.command(
    epilog=examples(
        "embed model features embeddings",
        "embed model features embeddings --vector list --scores --threads 2 --memory 2GB",
    )
)
@with_options(EmbeddingJob, arguments=("bundle", "source", "destination"))
def embed(given: dict[str, Any], *, as_json: AsJson = False, debug: Debug = False) -> None:
    """Turn every row into a vector and publish them: readers open DESTINATION/current.

    Only new or changed files are computed. A killed run goes on where it stopped.
    """
    with reporting(as_json=as_json, debug=debug, resumes=True) as report:
        job = parse(EmbeddingJob, given, where="embed")
        import pipeline
        from flows import texts

        with console_progress() as progress:
            result = pipeline.embed(job, progress=progress)
        report(result, texts.embedding(result))


@app.command(
    epilog=examples(
        "evaluate model features --label late",
        "evaluate model features --label late --test features-of-next-year",
    )
)
@with_options(EvaluationJob, arguments=("bundle", "source"))
def evaluate(given: dict[str, Any], *, as_json: AsJson = False, debug: Debug = False) -> None:
    """Measure a bundle against PCA, the raw columns and a random projection."""
    with reporting(as_json=as_json, debug=debug) as report:
        job = parse(EvaluationJob, given, where="evaluate")
        from flows import texts, verbs

        with console_progress() as progress:
            result = verbs.evaluate(job, progress=progress)
        report(result, texts.evaluation(result))


@app.command(
    epilog=examples(
        "generate model --rows 100000 --out drawn.parquet",
        "generate model --rows 100000 --out drawn.parquet --compare features",
        "generate model --rows 1000 --out italy.parquet --where country=IT --seed 7",
    )
)
@with_options(ComparedGenerationJob, arguments=("bundle",))
def generate(given: dict[str, Any], *, as_json: AsJson = False, debug: Debug = False) -> None:
    """Draw rows like those of the training table into a new Parquet file, types and nulls alike.

    The same seed draws the same bytes. The file appears whole or not at all.
    """
    with reporting(as_json=as_json, debug=debug) as report:
        job = parse(ComparedGenerationJob, given, where="generate")
        from flows import texts, verbs

        with console_progress() as progress:
            result = verbs.generate(job, progress=progress)
        report(result, texts.generation(result))
