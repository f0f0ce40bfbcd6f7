"""The command that makes published vectors known to a feature store."""

from __future__ import annotations

from typing import Any

import typer

from flows.console import AsJson, Debug, examples, reporting
from flows.jobs import PublishJob
from flows.options import with_options
from pipeline.config import parse

publish_app = typer.Typer()


@publish_app.command(
    epilog=examples(
        "publish embeddings --feast feature_repo",
        "publish embeddings --feast feature_repo --ttl 30d --materialize",
    )
)
@with_options(PublishJob, arguments=("destination",))
def publish(given: dict[str, Any], *, as_json: AsJson = False, debug: Debug = False) -> None:
    """Define a Feast feature view over DESTINATION/current, and load the online store if asked.

    What else the repository holds is not touched. Needs a key and an event time in the table.
    """
    with reporting(as_json=as_json, debug=debug) as report:
        job = parse(PublishJob, given, where="publish")
        from flows import texts
        from flows.publish import publish as run

        result = run(job)
        report(result, texts.publication(result))
