import os
from types import SimpleNamespace
from typing import Any

import pytest

from flows import batches
from pipeline.errors import DataError


def test_ten_thousand_shards_are_a_few_hundred_task_runs() -> None:
    found = batches.in_batches(range(10_000), at_most=batches.MAX_BATCHES)
    assert len(found) == batches.MAX_BATCHES < 300
    assert [shard for batch in found for shard in batch] == list(range(10_000))


def test_batches_are_of_nearly_equal_length() -> None:
    lengths = {len(batch) for batch in batches.in_batches(range(1_000), at_most=256)}
    assert lengths == {3, 4}


def test_few_shards_are_a_batch_each() -> None:
    assert batches.in_batches("ab", at_most=256) == ["a", "b"]


def test_no_shards_are_no_batches() -> None:
    assert batches.in_batches([], at_most=256) == []


@pytest.mark.parametrize(("error", "again"), [(OSError("disk"), True), (DataError("x"), False)])
def test_only_a_failing_disk_is_tried_again(error: Exception, again: bool) -> None:
    state: Any = SimpleNamespace(data=error, message=str(error))
    assert batches._may_pass(None, None, state) is again  # type: ignore[arg-type]


def test_prefects_settings_leave_alone_what_the_user_set(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.server import prepare_prefect

    monkeypatch.setattr(os, "environ", {"PREFECT_CLIENT_MAX_RETRIES": "3"})
    prepare_prefect()
    assert os.environ["PREFECT_CLIENT_MAX_RETRIES"] == "3"
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
