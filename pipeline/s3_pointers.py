"""The pointer of a destination in an object store: a sequence of objects, each created once.

``pointers/000042.json`` names a version; the highest number is what readers see. Nothing is ever
replaced, so that two writers who move the pointer at the same time find out about each other.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from pydantic import ValidationError

from pipeline import objects
from pipeline.locations import S3Location
from pipeline.publishing import Move, Pointer

_NAME = re.compile(r"(\d{6,})\.json")
_KEPT = 100


class S3Pointers:
    """The pointers below a prefix.

    It remembers the one it saw last: `follow` moves on from that one, and nothing moves it back.
    """

    def __init__(self, root: S3Location) -> None:
        self._folder = root.join("pointers")
        self._seen = 0
        self._known: dict[int, tuple[Pointer | None, datetime]] = {}

    def current(self) -> Pointer | None:
        """The highest pointer, looked for again; None if there is none, or it is damaged."""
        self._seen = self._highest()
        return self._read(self._seen)[0] if self._seen else None

    def damaged(self) -> S3Location | None:
        """The pointer that `current` saw, if that is damaged."""
        unreadable = self._seen and self._read(self._seen)[0] is None
        return self._location(self._seen) if unreadable else None

    def follow(self, pointer: Pointer) -> bool:
        """Move on to `pointer` from the one that was seen last; False if another was faster."""
        seen = self._read(self._seen)[0] if self._seen else None
        if seen is not None and (seen.run_id, seen.pinned) == (pointer.run_id, pointer.pinned):
            return True
        data = pointer.model_dump_json(exclude_none=True).encode()
        if not objects.create(self._location(self._seen + 1), data):
            return False
        self._seen += 1
        return True

    def history(self) -> list[Move]:
        """Moves to the pointers that are kept, the newest first."""
        found = (self._read(number) for number in sorted(self._numbers(), reverse=True))
        return [Move.of(pointer, made) for pointer, made in found if pointer is not None]

    def left(self, run_id: str) -> datetime:
        """When the pointer last moved on from a version, by the store's clock.

        From one that it never led to, or so long ago that it is forgotten, with its last move.
        """
        later = last = datetime.now(UTC)
        for place, number in enumerate(sorted(self._numbers(), reverse=True)):
            pointer, moved = self._read(number)
            last = moved if place == 0 else last
            if pointer is not None and pointer.run_id == run_id:
                return later
            later = moved
        return last

    def forget(self) -> None:
        """Delete all but the last hundred."""
        objects.delete(self._location(number) for number in sorted(self._numbers())[:-_KEPT])

    def _numbers(self) -> list[int]:
        names = objects.children(self._folder)
        return [int(found[1]) for name in names if (found := _NAME.fullmatch(name))]

    def _highest(self) -> int:
        # A listing may lag behind what was created; the objects themselves do not.
        number = max([*self._numbers(), self._seen], default=0)
        while self._exists(number + 1):
            number += 1
        return number

    def _exists(self, number: int) -> bool:
        try:
            self._read(number)
        except FileNotFoundError:
            return False
        return True

    def _read(self, number: int) -> tuple[Pointer | None, datetime]:
        """A pointer and when it was created; no pointer where the object is damaged."""
        if number not in self._known:
            location = self._location(number)
            made = objects.head(location).modified or datetime.now(UTC)
            try:
                pointer = Pointer.model_validate_json(objects.read(location))
            except ValidationError:
                pointer = None
            self._known[number] = (pointer, made)
        return self._known[number]

    def _location(self, number: int) -> S3Location:
        return self._folder.join(f"{number:06d}.json")
