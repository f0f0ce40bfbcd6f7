"""Room for temporary files on this machine, for this user alone: ``TMPDIR`` says where."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pipeline.errors import ConfigError


def folder(name: str) -> Path:
    """The folder `name` of this user's room; made if it is not there.

    Raises:
        ConfigError: if another user has put something there.
        OSError: if it cannot be made.
    """
    room = Path(tempfile.gettempdir(), f"parquet2vec-{os.getuid()}")
    room.mkdir(mode=0o700, exist_ok=True)
    status = room.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ConfigError(
            f"{room} must belong to this user alone, found it open to others; remove it or set "
            "TMPDIR"
        )
    found = room / name
    found.mkdir(exist_ok=True)
    return found
