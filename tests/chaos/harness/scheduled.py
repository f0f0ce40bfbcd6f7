"""A flow run that is due, in a process of its own: what Prefect's runner starts for it."""

from __future__ import annotations

import os
import runpy
import sys


def execute(run: str) -> None:
    """Execute the flow run with the id `run`; what a trial's process runs."""
    sys.argv = ["prefect.engine"]
    os.environ["PREFECT__FLOW_RUN_ID"] = run
    # Imported with the flows; it is to run as the main module, once more.
    sys.modules.pop("prefect.engine", None)
    runpy.run_module("prefect.engine", run_name="__main__")
