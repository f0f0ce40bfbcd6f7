"""What a run leaves on Prefect's page is bounded, however many parts it has."""

import pytest

from flows.artifacts import MOST_PARTS, parts_table
from pipeline.publishing import PartReport


def parts(count: int) -> list[PartReport]:
    return [
        PartReport(
            name=f"part-{place:05d}-abcdef01.parquet", rows=10, bytes=1_000_000, sha256="",
            work="", source=f"s3://me:secret@lake/day={place}", row_groups=(0, 1),
        )
        for place in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("count", [1, MOST_PARTS, MOST_PARTS + 1, 10_000])
def test_the_table_of_parts_is_bounded_and_counts_all(count: int) -> None:
    table = parts_table(parts(count))
    assert len(table) == min(count, MOST_PARTS + 1)
    assert sum(row["rows"] for row in table) == 10 * count
    assert sum(row["MB"] for row in table) == pytest.approx(count)
    assert (table[-1]["part"] == f"and {count - MOST_PARTS:,} more") is (count > MOST_PARTS)


def test_the_table_of_parts_holds_no_credentials() -> None:
    assert "secret" not in str(parts_table(parts(1)))
