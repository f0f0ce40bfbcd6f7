"""Prefect's settings for a run that starts its own server."""

from __future__ import annotations

import os

_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # A busy machine needs longer than Prefect's 20 seconds to start a server and fill its database.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # SQLite answers "database is locked" as 503; the default of 5 retries gives up too early.
    "PREFECT_CLIENT_MAX_RETRIES": "20",
    # The temporary server is stopped with work in its queues and logs a traceback for each.
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    # Our packages have everyday names: no child may find a user's `flows` folder instead.
    "PYTHONSAFEPATH": "1",
}


def prepare_prefect() -> None:
    """Set what Prefect reads when it is imported; whatever the user set stays as it is."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
