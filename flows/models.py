"""The commands of a registry of models."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flows.console import AsJson, Debug, examples, reporting
from flows.jobs import ModelRetentionJob, PromotionJob
from flows.options import with_options
from flows.progress import console_progress
from pipeline.config import parse
from pipeline.errors import ConfigError

models_app = typer.Typer(no_args_is_help=True)

Models = Annotated[
    str, typer.Argument(metavar="MODELS", help="Folder of models, or s3://bucket/prefix.")
]


@models_app.command("list", epilog=examples("models list models"))
def list_models(models: Models, *, as_json: AsJson = False, debug: Debug = False) -> None:
    """List the versions of a model, and where production and candidate lead."""
    with reporting(as_json=as_json, debug=debug) as report:
        from flows import model_facts

        result = model_facts.listing(models)
        report(result, model_facts.listing_text(result))


@models_app.command(epilog=examples("models show models", "models show models candidate"))
def show(
    models: Models,
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="Alias, version, or its beginning.")
    ] = "production",
    *,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Tell where a version came from, when it was promoted and why, and its model card."""
    with reporting(as_json=as_json, debug=debug) as report:
        from flows import model_facts

        result = model_facts.story(models, version)
        report(result, model_facts.story_text(result))


@models_app.command(epilog=examples("models add models model", "models add s3://lake/models model"))
def add(
    models: Models,
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="Bundle that was trained elsewhere.")
    ],
    *,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a bundle a version, and the candidate; MODELS is made if it is not there."""
    with reporting(as_json=as_json, debug=debug) as report:
        from flows import model_facts, registration

        version = registration.add(models, bundle).version
        result = model_facts.story(models, version)
        report(result, model_facts.story_text(result.model_copy(update={"card": None})))


@models_app.command(
    epilog=examples("models promote models", "models promote models 3f2a9c --source features")
)
@with_options(PromotionJob, arguments=("models", "version"))
def promote(given: dict[str, Any], *, as_json: AsJson = False, debug: Debug = False) -> None:
    """Move production to the candidate, or to VERSION, if the gate lets it; else exit code 3.

    The version must be intact and have the figures of its export, must not be worse than the model
    in production on rows that neither has seen, and its code must be as alive.
    """
    with reporting(as_json=as_json, debug=debug) as report:
        job = parse(PromotionJob, given, where="promote")
        from flows import promotion, texts

        with console_progress() as progress:
            result = promotion.promote(job, by_hand=True, progress=progress)
        report(result, texts.promotion(result))
    if not result.promoted:
        raise typer.Exit(3)


@models_app.command(epilog=examples("models rollback models", "models rollback models --unpin"))
def rollback(
    models: Models,
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="VERSION", help="Version, or the beginning of it.", show_default=False
        ),
    ] = None,
    *,
    unpin: Annotated[
        bool, typer.Option("--unpin", help="Let refreshes move production again.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Move production to the version that it had before, or to VERSION, and keep it there.

    Refreshes train and judge candidates, but production stays where it is until --unpin.
    """
    with reporting(as_json=as_json, debug=debug) as report:
        if unpin and version is not None:
            raise ConfigError(f"--unpin takes no VERSION, found {version}; leave one of them out")
        from flows import model_facts, registration

        if unpin:
            registration.unpin(models)
        else:
            registration.roll_back(models, version)
        result = model_facts.listing(models)
        report(result, model_facts.listing_text(result))


@models_app.command(
    epilog=examples("models diff models/production models/candidate", "models diff old new --json")
)
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="Bundle, or alias of one.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Bundle, or alias of one.")],
    *,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Tell how two bundles differ: columns, options, data, scores, sizes."""
    with reporting(as_json=as_json, debug=debug) as report:
        from flows import differences

        result = differences.difference(a, b)
        report(result, differences.text(result))


@models_app.command(
    epilog=examples("models gc models", "models gc models --keep 2 --destination embeddings")
)
@with_options(ModelRetentionJob, arguments=("models",))
def gc(given: dict[str, Any], *, as_json: AsJson = False, debug: Debug = False) -> None:
    """Delete old versions, and what killed runs left behind.

    What an alias leads to stays, so does the version that production had before, the one that made
    the vectors of --destination, and any that an alias led to within the grace time.
    """
    with reporting(as_json=as_json, debug=debug) as report:
        job = parse(ModelRetentionJob, given, where="gc")
        from flows import registration, texts

        result = registration.clean(job)
        report(result, texts.model_cleaning(result))
