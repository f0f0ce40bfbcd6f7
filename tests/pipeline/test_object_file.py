"""An object read as a file: the same bytes as a file on disk, in few requests."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import objects
from pipeline.locations import S3Location
from pipeline.object_file import CACHE, ObjectFile
from pipeline.objects import ObjectFacts

CONTENT = bytes(range(256)) * 8


class Ranges:
    """Stands for the store: answers ranges and remembers them."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked: list[tuple[int, int]] = []

    def __call__(self, facts: ObjectFacts, start: int, stop: int) -> bytes:
        assert 0 <= start < stop <= len(self.content)
        assert facts.etag == "seen"
        self.asked.append((start, stop))
        return self.content[start:stop]


def opened(patch: pytest.MonkeyPatch, content: bytes, block: int) -> tuple[ObjectFile, Ranges]:
    ranges = Ranges(content)
    patch.setattr(objects, "read_range", ranges)
    facts = ObjectFacts(S3Location("lake", "x"), len(content), "seen")
    return ObjectFile(facts, block=block), ranges


moves = st.tuples(st.integers(0, len(CONTENT) + 9), st.integers(-1, len(CONTENT)))


@given(st.lists(moves, max_size=12), st.sampled_from([7, 100, 4096]))
def test_reads_give_what_a_file_gives(steps: list[tuple[int, int]], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        file, _ = opened(patch, CONTENT, block)
        plain = io.BytesIO(CONTENT)
        for place, size in steps:
            assert file.seek(place) == plain.seek(place)
            assert bytes(file.read(size)) == plain.read(size)
            assert file.tell() == min(plain.tell(), max(len(CONTENT), place))
        assert file.seek(-3, io.SEEK_END) == plain.seek(-3, io.SEEK_END)
        assert file.seek(1, io.SEEK_CUR) == plain.seek(1, io.SEEK_CUR)


def test_small_reads_side_by_side_are_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    file, ranges = opened(monkeypatch, CONTENT, 1024)
    for _ in range(64):
        file.read(16)
    assert ranges.asked == [(0, 1024)]


def test_a_large_read_is_one_request_and_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    file, ranges = opened(monkeypatch, CONTENT, 100)
    file.seek(5)
    file.read(1500)
    assert ranges.asked == [(5, 1505)]
    assert not file._blocks


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.object_file.CACHE", 300)
    file, ranges = opened(monkeypatch, CONTENT, 100)
    for start in [0, 100, 200, 300, 0]:
        file.seek(start)
        file.read(10)
    assert len(ranges.asked) == 5
    assert len(file._blocks) == 3 < CACHE
