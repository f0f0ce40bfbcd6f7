"""Where `parquet2vec` begins: an interrupt is one line from the first moment on."""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; what it needs is imported here, which can be interrupted as well."""
    try:
        from flows.cli import main as run

        run()
    except KeyboardInterrupt:
        print("parquet2vec: interrupted before anything was done", file=sys.stderr)
        sys.exit(_INTERRUPTED)
