"""The pointer of a destination on local disk: a link, its pin, and when readers left which version.

The link alone says which version is current; what stands beside it is mended after any crash.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pipeline import storage
from pipeline.errors import DestinationError
from pipeline.publishing import Pointer, is_run_id

CURRENT = "current"
PINNED = "_pinned"
SUPERSEDED = "_superseded.json"

_TIMES = TypeAdapter(dict[str, datetime])


@dataclass(frozen=True)
class DiskPointer:
    """The link `current` in the folder `root`."""

    root: Path

    def target(self) -> str | None:
        """The run id it leads to, whether that is there or not; None where it is not ours.

        Raises:
            DestinationError: if it is no link.
        """
        try:
            folder, _, run_id = str(self._link.readlink()).partition("/")
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise DestinationError(
                f"{self._link} must be a link, found a copy of what it led to; move it away and "
                "embed again"
            ) from None
        return run_id if folder == "versions" and is_run_id(run_id) else None

    @property
    def pinned(self) -> bool:
        """Whether later runs leave it where it is."""
        return self._pin.exists()

    def superseded(self, run_id: str) -> datetime:
        """When readers were last given a version that is not the current one, or later; in UTC."""
        times = self._times()
        if run_id in times:
            return times[run_id]
        # A run that was killed after the move has not noted it; the link is as old as the move.
        if self._link.is_symlink():
            return datetime.fromtimestamp(self._link.lstat().st_mtime, UTC)
        return datetime.now(UTC)

    def move(self, pointer: Pointer, *, run_ids: Iterable[str]) -> None:
        """Lead to another version by a rename of the link; `run_ids` are all that are published."""
        # The pin comes first, so that no run moves what a rollback is about to move.
        if pointer.pinned:
            storage.write_file(self._pin, b"")
        left = self.target()
        moves = left != pointer.run_id
        if moves:
            self._lead_to(pointer.run_id)
            self._note_left(left, [other for other in run_ids if other != pointer.run_id])
        unpins = not pointer.pinned and self.pinned
        if unpins:
            self._pin.unlink()
        # A run that was killed may have moved it and not synced, and what it left is deleted next.
        if unpins or not moves:
            storage.sync_folder(self.root)

    def _lead_to(self, run_id: str) -> None:
        times = self._times()
        # What is left later must not count from when it was left the last time.
        if times.pop(run_id, None) is not None:
            self._note(times)
        storage.point(self._link, f"versions/{run_id}")

    def _note_left(self, left: str | None, others: Iterable[str]) -> None:
        now, times = datetime.now(UTC), self._times()
        self._note({other: now if other == left else times.get(other, now) for other in others})

    def _note(self, times: dict[str, datetime]) -> None:
        storage.write_file(self.root / SUPERSEDED, _TIMES.dump_json(times))

    def _times(self) -> dict[str, datetime]:
        try:
            return _TIMES.validate_json((self.root / SUPERSEDED).read_bytes())
        except (FileNotFoundError, ValidationError):
            return {}

    @property
    def _link(self) -> Path:
        return self.root / CURRENT

    @property
    def _pin(self) -> Path:
        return self.root / PINNED
