"""The commands that look at what is there, and move between versions of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.console import AsJson, Debug, examples, reporting
from flows.options import with_options
from pipeline.config import RetentionJob, parse
from pipeline.errors import ConfigError

versions_app = typer.Typer()

Destination = Annotated[
    str, typer.Argument(metavar="DESTINATION", help="Folder of published vectors.")
]
Run = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help="Version, or the beginning of its id.", show_default=False),
]


@versions_app.command(
    epilog=examples(
        "inspect features",
        "inspect model",
        "inspect embeddings",
        "inspect embeddings --html history.html",
    )
)
def inspect(
    path: Annotated[str, typer.Argument(metavar="PATH", help="What to look at.")],
    *,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a destination's history as a page."),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say in a screenful what a source, a bundle or a destination is."""
    with reporting(as_json=as_json, debug=debug) as report:
        from flows import inspection, screenful

        result = inspection.inspect(path)
        if html is not None:
            result = inspection.write_page(result, html)
        report(result, screenful.text(result))


@versions_app.command(epilog=examples("verify model", "verify embeddings"))
def verify(
    path: Annotated[str, typer.Argument(metavar="PATH", help="Bundle or destination.")],
    *,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Hash and check every file of a bundle or a destination again."""
    with reporting(as_json=as_json, debug=debug) as report:
        import pipeline
        from flows import texts

        result = pipeline.verify(path)
        report(result, texts.verification(result))


@versions_app.command(epilog=examples("rollback embeddings", "rollback embeddings --unpin"))
def rollback(
    destination: Destination,
    run: Run = None,
    *,
    unpin: Annotated[
        bool, typer.Option("--unpin", help="Give readers the newest version again.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Give readers the version before the current one, or RUN, and keep them there.

    Later runs publish their versions, but readers stay where they are until --unpin.
    """
    with reporting(as_json=as_json, debug=debug) as report:
        import pipeline
        from flows import texts

        if unpin and run is not None:
            raise ConfigError(f"--unpin takes no RUN, found {run}; leave one of them out")
        result = pipeline.unpin(destination) if unpin else pipeline.rollback(destination, run)
        report(result, texts.rollback(result))


@versions_app.command(epilog=examples("gc embeddings", "gc embeddings --keep 1 --grace 1h"))
@with_options(RetentionJob, arguments=("destination",))
def gc(given: dict[str, Any], *, as_json: AsJson = False, debug: Debug = False) -> None:
    """Delete what need not stay: unfinished work, damaged versions, old versions.

    The current version stays, and so does any that readers were given within the grace time.
    """
    with reporting(as_json=as_json, debug=debug) as report:
        job = parse(RetentionJob, given, where="gc")
        import pipeline
        from flows import texts

        result = pipeline.gc(job)
        report(result, texts.cleaning(result))


@versions_app.command(epilog=examples("resolve embeddings", "resolve embeddings 3f2a9c --json"))
def resolve(
    destination: Destination,
    run: Run = None,
    *,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the files of the current version, or of RUN, for readers that must not fail.

    What is listed stays at least for the grace time, whatever is published meanwhile.
    """
    with reporting(as_json=as_json, debug=debug) as report:
        import pipeline

        result = pipeline.resolve(destination, run)
        report(result, "\n".join(result.files))
