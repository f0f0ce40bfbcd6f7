from typing import Any, Literal

import typer
from pydantic import Field
from typer.testing import CliRunner

from flows.cli import app
from flows.options import parameters, with_options
from pipeline.config import Config, EmbeddingJob
from training.spec import TrainingJob


class Inner(Config):
    steps: int = 1


class Job(Config):
    path: str = Field(description="Where [it] is.")
    many: tuple[str, ...] = Field(default=(), description="Several.")
    choice: Literal["a", "b"] = Field(default="a", description="One of two.")
    size: int | None = Field(default=None, description="How many.")
    loud: bool = Field(default=False, description="Whether.")
    inner: Inner = Field(default_factory=Inner, description="Only in a file.")


def answers(*words: str, needed: bool = True) -> Any:
    application, seen = typer.Typer(), []

    @application.command()
    @with_options(Job, arguments=("path",), needed=needed)
    def command(given: dict[str, Any], *, more: bool = False) -> None:
        """Does nothing."""
        seen.append((given, more))

    result = CliRunner().invoke(application, list(words))
    return seen[0] if seen else result


def test_only_what_was_given_is_passed_on() -> None:
    assert answers("x", "--many", "a", "--many", "b", "--loud") == (
        {"path": "x", "many": ["a", "b"], "loud": True},
        False,
    )


def test_a_commands_own_options_stand_beside_those_of_the_model() -> None:
    assert answers("x", "--more") == ({"path": "x"}, True)


def test_a_required_field_is_a_required_argument() -> None:
    assert answers().exit_code == 2


def test_a_required_field_may_be_left_to_a_file() -> None:
    assert answers(needed=False) == ({}, False)


def test_a_choice_outside_the_models_is_a_usage_error() -> None:
    assert answers("x", "--choice", "c").exit_code == 2


def test_help_tells_description_default_and_brackets() -> None:
    text = " ".join(answers("--help").output.split())
    assert "Where [it] is." in text
    assert "[default: a]" in text
    assert "[repeatable]" in text


def test_tables_of_a_model_have_no_option() -> None:
    assert "inner" not in dict(parameters(Job))


def test_every_field_of_every_job_is_described() -> None:
    for model in (TrainingJob, EmbeddingJob):
        assert all(field.description for field in model.model_fields.values()), model


def test_train_offers_every_plain_field_of_its_job_and_nothing_else() -> None:
    told = CliRunner().invoke(app, ["train", "--help"], terminal_width=200).output
    for name in dict(parameters(TrainingJob)):
        assert name == "source" or f"--{name.replace('_', '-')}" in told
    assert "--training" not in told
