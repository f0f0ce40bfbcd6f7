"""A link on local disk that leads to one of the versions beside it, and the moves it has made.

The link alone says where it leads. A move is noted before the link moves: a process that is killed
between the two leaves a last move that did not happen. It is known by the link, which still leads
where the move before it went.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pipeline import storage
from pipeline.errors import DestinationError, PublishError
from pipeline.publishing import Move, Pointer, is_run_id

_MOVES = TypeAdapter(list[Move])
_KEPT = 100


@dataclass(frozen=True)
class DiskLink:
    """The link at `path`, and the file `notes` with its last hundred moves, the oldest first."""

    path: Path
    notes: Path

    def target(self) -> str | None:
        """The version it leads to, whether that is there or not; None where it is not ours.

        Raises:
            DestinationError: if it is no link.
            PublishError: if it cannot be read.
        """
        try:
            folder, _, version = str(self.path.readlink()).partition("/")
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise PublishError(f"cannot read {self.path}: {error.strerror}") from None
            raise DestinationError(
                f"{self.path} must be a link, found a copy of what it led to; move it away, then "
                "run this again"
            ) from None
        return version if folder == "versions" and is_run_id(version) else None

    def history(self) -> list[Move]:
        """The moves, the newest first: the link is where that one says."""
        target = self.target()
        if target is None:
            return []
        moves = self._noted()
        if moves and moves[-1].version == target:
            return moves[::-1]
        if len(moves) > 1 and moves[-2].version == target:
            return moves[-2::-1]  # killed before the link moved
        moved = datetime.fromtimestamp(self.path.lstat().st_mtime, UTC)
        return [Move(version=target, at=moved), *moves[::-1]]

    def move(self, pointer: Pointer) -> None:
        """Note the move to a version, then lead there by a rename."""
        moves = [*self.history()[::-1], Move.of(pointer, datetime.now(UTC))]
        storage.write_file(self.notes, _MOVES.dump_json(moves[-_KEPT:]))
        if self.target() != pointer.run_id:
            storage.point(self.path, f"versions/{pointer.run_id}")

    def _noted(self) -> list[Move]:
        try:
            return _MOVES.validate_json(self.notes.read_bytes())
        except (FileNotFoundError, ValidationError):
            return []
        except OSError as error:
            raise PublishError(f"cannot read {self.notes}: {error.strerror}") from None
