"""The pointer of a destination on local disk: a link, its pin, and when it moved where.

The link alone says which version is current; what stands beside it is mended after any crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from pipeline import storage
from pipeline.disk_link import DiskLink
from pipeline.publishing import Move, Pointer

CURRENT = "current"
PINNED = "_pinned"
MOVES = "_moves.json"


@dataclass(frozen=True)
class DiskPointer:
    """The link `current` in the folder `root`."""

    root: Path

    def target(self) -> str | None:
        """The run id it leads to, whether that is there or not; None where it is not ours.

        Raises:
            DestinationError: if it is no link.
        """
        return self._link.target()

    @property
    def pinned(self) -> bool:
        """Whether later runs leave it where it is."""
        return self._pin.exists()

    def history(self) -> list[Move]:
        """Its moves, the newest first."""
        return self._link.history()

    def superseded(self, run_id: str) -> datetime:
        """When readers were last given a version that is not the current one, or later; in UTC."""
        moves = self.history()
        for later, move in pairwise(moves):
            if move.version == run_id:
                return later.at
        # It never led there, or so long ago that this is forgotten.
        return moves[0].at if moves else datetime.now(UTC)

    def move(self, pointer: Pointer) -> None:
        """Lead to another version by a rename of the link."""
        # The pin comes first, so that no run moves what a rollback is about to move.
        if pointer.pinned:
            storage.write_file(self._pin, b"")
        last = next(iter(self.history()), None)
        moves = last is None or (last.version, last.pinned) != (pointer.run_id, pointer.pinned)
        if moves:
            self._link.move(pointer)
        unpins = not pointer.pinned and self.pinned
        if unpins:
            self._pin.unlink()
        # A run that was killed may have moved it and not synced, and what it left is deleted next.
        if unpins or not moves:
            storage.sync_folder(self.root)

    @property
    def _link(self) -> DiskLink:
        return DiskLink(self.root / CURRENT, notes=self.root / MOVES)

    @property
    def _pin(self) -> Path:
        return self.root / PINNED
