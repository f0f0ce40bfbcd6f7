"""Where a bundle came from: recorded beside it when it is registered, and no part of its seal."""

from __future__ import annotations

import getpass
import json
import socket
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from pydantic import Field, ValidationError

from pipeline.config import Config
from pipeline.publishing import RunId
from pipeline.seals import UNSEALED, Seal, is_intact, sealed

_PACKAGE = "parquet2vec"


class Lineage(Config):
    """Which table, which code and which run a version of a model came from."""

    version: RunId
    bundle: str = Field(description="Fingerprint of the bundle.")
    source: str | None = Field(default=None, description="Table it was trained on.")
    source_fingerprint: str | None = Field(
        default=None, description="State of that table: names, sizes and times of its files."
    )
    label: str | None = Field(default=None, description="Column that its probe predicts.")
    code: str = Field(description="Version of this package, and the commit where it is known.")
    run: str | None = Field(default=None, description="Prefect's id of the flow run.")
    at: datetime = Field(description="When it was registered, in UTC.")
    by: str = Field(description="user@host")
    seal: Seal | None = None

    def to_bytes(self) -> bytes:
        """The document, sealed."""
        unsealed = self.model_copy(update={"seal": UNSEALED})
        return sealed(unsealed.model_dump_json(indent=1).encode())

    @staticmethod
    def from_bytes(document: bytes | None, version: str) -> Lineage | None:
        """What `to_bytes` gave of `version`; None where it is missing or was changed since."""
        try:
            found = Lineage.model_validate_json(document or b"")
        except ValidationError:
            return None
        intact = found.seal is not None and is_intact(document or b"", found.seal)
        return found if intact and found.version == version else None


def now() -> datetime:
    """The time, in UTC, fine enough to put two versions in the order they were registered in."""
    return datetime.now(UTC)


def who() -> str:
    """``user@host`` of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"  # a container may run under a number without a name
    return f"{user}@{socket.gethostname()}"


def code() -> str:
    """Version of this package, and its commit if it was installed from a repository."""
    try:
        found = distribution(_PACKAGE)
    except PackageNotFoundError:
        return "unknown"
    commit = _direct_url(found.read_text("direct_url.json")).get("vcs_info", {}).get("commit_id")
    return f"{found.version} ({commit})" if commit else found.version


def _direct_url(text: str | None) -> dict[str, Any]:
    try:
        told = json.loads(text or "{}")
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
