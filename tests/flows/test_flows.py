"""The flows on a Prefect server of their own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.project import refresh_job
from flows.runners import FlowSettings
from pipeline.config import EmbeddingJob
from pipeline.errors import SchemaError

pytestmark = [pytest.mark.flows, pytest.mark.usefixtures("prefect")]

Cli = Callable[..., Any]


def artifacts(kind: str) -> list[Any]:
    """All artifacts of one type on the server, newest first."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterType

    with get_client(sync_client=True) as client:
        chosen = ArtifactFilter(type=ArtifactFilterType(any_=[kind]))
        return client.read_artifacts(artifact_filter=chosen)


def parts(destination: Path) -> dict[str, bytes]:
    """Every published file but the manifest, which tells when."""
    return {p.name: p.read_bytes() for p in (destination / "current").glob("*.parquet")}


def test_the_embedding_flow_publishes_what_the_plain_call_does(
    bundle: Path, source: Path, tmp_path: Path
) -> None:
    import pipeline
    from flows.runs import run_embed

    jobs = [
        EmbeddingJob(bundle=str(bundle), source=str(source), destination=str(tmp_path / name))
        for name in ("flow", "call")
    ]
    told = run_embed(jobs[0], FlowSettings())
    pipeline.embed(jobs[1])
    assert (told.rows, told.computed) == (800, 2)
    assert parts(tmp_path / "flow") == parts(tmp_path / "call")


def test_an_embedding_leaves_progress_and_a_table(
    bundle: Path, source: Path, tmp_path: Path
) -> None:
    from flows.runs import run_embed

    job = EmbeddingJob(bundle=str(bundle), source=str(source), destination=str(tmp_path / "out"))
    told = run_embed(job, FlowSettings())
    assert any("rows: 800 of 800" in (a.description or "") for a in artifacts("progress"))
    tables = [str(a.data) for a in artifacts("table") if told.run_id[:8] in str(a.data)]
    assert any(told.run_id in table for table in tables)
    assert any("file-0.parquet" in table and "part-00000" in table for table in tables)


def test_a_refused_input_is_the_same_error_as_without_prefect(
    bundle: Path, table: Cli, folder_of: Cli, tmp_path: Path
) -> None:
    from flows.runs import run_embed

    source = folder_of(tmp_path / "in", table().drop_columns(["carrier"]))
    job = EmbeddingJob(bundle=str(bundle), source=str(source), destination=str(tmp_path / "out"))
    with pytest.raises(SchemaError, match="carrier"):
        run_embed(job, FlowSettings())
    assert not (tmp_path / "out" / "current").exists()


def test_a_refresh_trains_promotes_and_embeds_and_again_does_nothing(project: Path) -> None:
    from flows.runs import run_refresh

    job = refresh_job(project)
    first = run_refresh(job, FlowSettings())
    again = run_refresh(job, FlowSettings())
    assert first.promotion.reason == "there was no model before"
    assert "in production already" in again.promotion.reason
    assert Path(job.models, "production").resolve() == Path(first.training.bundle).resolve()
    assert (first.embedding.published, again.embedding.published) == (True, False)
    assert any("report.html" in str(a.data) for a in artifacts("markdown"))


def test_a_bad_parameter_is_refused_before_anything_runs() -> None:
    from prefect.exceptions import ParameterTypeError

    from flows.embed import embed

    with pytest.raises(ParameterTypeError, match="destination"):
        embed({"bundle": "b", "source": "s"})  # type: ignore[arg-type]
