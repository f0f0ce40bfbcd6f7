"""One training by `parquet2vec`, from the table to the embedding, its cost taken stage by stage.

Called as ``training_run.py SOURCE OUT RECIPE STEPS LAST`` in a process of its own. The folder OUT
gets the bundle and ``run.json``, and with ``embed`` for LAST ``embedding.npy``, the vectors of all
rows; ``evaluate`` measures the bundle by the label instead.

Between the steps the *floor* is taken: forward passes of the matrix products of the same network
over batches of the same size, on the same thread, now and then, so that whatever slows the machine
slows both.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import torch
from training_table import LABEL

from export import export
from pipeline import Encoder
from training.evaluation import evaluate
from training.fit import fit
from training.spec import TrainingConfig, TrainingJob

ROWS_PER_BATCH = 256
PASSES = 40  # forward passes of one look at the floor
LOOKS = 20
FORWARD_PASSES = 3  # one for the pass itself, two for its gradients
AFTER = {"statistics": "open", "prepare": "closed form"}


class Stages:
    """A progress that keeps CPU and wall seconds and peak memory by stage.

    The seconds of the floor are in no stage.
    """

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float]] = {}
        self.floor = Floor()
        self._name, self._training, self._steps = "", False, 0
        self.enter("open")

    def enter(self, name: str) -> None:
        """End the stage that runs and begin, or go on with, another."""
        self.end()
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
        self._name, self._begun = name, (time.process_time(), time.perf_counter())
        self._floor = self.floor.cpu, self.floor.wall

    def end(self) -> None:
        """End the stage that runs."""
        if not self._name:
            return
        stage = self.found.setdefault(self._name, {"cpu": 0.0, "wall": 0.0, "bytes": 0.0})
        stage["cpu"] += time.process_time() - self._begun[0] - self.floor.cpu + self._floor[0]
        stage["wall"] += time.perf_counter() - self._begun[1] - self.floor.wall + self._floor[1]
        stage["bytes"] = max(stage["bytes"], _peak_bytes())

    def start(self, what: str, total: int | None) -> None:
        """A part of `fit` begins."""
        self._training = what.startswith("train")
        self._what, self._total, self._steps = what, total or 0, 0
        self.enter("training" if self._training else what)
        if self._training:
            self.floor.watch()

    def advance(self, n: int, **figures: float) -> None:
        """One step or some rows."""
        self._steps += n
        if n and self._training and self._steps % max(1, self._total // LOOKS) == 0:
            self.floor.look()

    def finish(self) -> None:
        """A part of `fit` ends."""
        self._training = False
        self.enter(AFTER.get(self._what, "standardise"))


class Floor:
    """What the matrix products of a network cost in one forward pass."""

    def __init__(self) -> None:
        self.cpu = self.wall = 0.0
        self.shapes: dict[int, tuple[int, int]] = {}
        self._passes = self._cpu_of_passes = 0.0
        self._layers = ExitStack()

    def watch(self) -> None:
        """Note the layers that the next steps run through."""
        hook = torch.nn.modules.module.register_module_forward_hook(self._note)
        self._layers.callback(hook.remove)

    def look(self) -> None:
        """Time some forward passes, after two that are not counted."""
        self._layers.close()
        begun = time.process_time(), time.perf_counter()
        pairs = [
            (torch.randn(ROWS_PER_BATCH, inputs), torch.randn(outputs, inputs))
            for inputs, outputs in self.shapes.values()
        ]
        with torch.no_grad():
            _pass(pairs)
            _pass(pairs)
            counted = time.process_time()
            for _ in range(PASSES):
                _pass(pairs)
        self._passes += PASSES
        self._cpu_of_passes += time.process_time() - counted
        self.cpu += time.process_time() - begun[0]
        self.wall += time.perf_counter() - begun[1]

    @property
    def per_step(self) -> float:
        """CPU seconds of three forward passes of one batch."""
        return FORWARD_PASSES * self._cpu_of_passes / self._passes

    def _note(self, module: torch.nn.Module, *_: Any) -> None:
        if isinstance(module, torch.nn.Linear):
            self.shapes[id(module)] = (module.in_features, module.out_features)


def _pass(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    for rows, weights in pairs:
        torch.nn.functional.linear(rows, weights)


def _peak_bytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024.0 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Train, export, and embed or evaluate."""
    source, out, recipe, steps, last = sys.argv[1:6]
    folder = Path(out)
    # No early end: the number of steps is what is paid for.
    config = TrainingConfig(steps=int(steps), rows_per_batch=ROWS_PER_BATCH, patience=int(steps))
    stages = Stages()
    job = TrainingJob(
        source=source, out=str(folder / "bundle"), recipe=recipe, key=("row_id",), label=(LABEL,),
        dim=16, training=config,
    )  # fmt: skip
    checkpoint = fit(job, progress=stages)
    stages.enter("export")
    bundle = export(checkpoint, folder / "bundle")
    told: dict[str, Any] = {}
    stages.enter(last)
    if last == "embed":
        vectors = Encoder.open(bundle.path).transform(ds.dataset(source).to_table())
        np.save(folder / "embedding.npy", vectors)
    else:
        found = evaluate(bundle.path, source, LABEL)
        told["scores"] = [[one.representation, one.probe, one.score] for one in found.scores]
    stages.end()
    curve = checkpoint.history[recipe]
    told |= {
        "stages": stages.found,
        "rows": checkpoint.training_data["rows"],
        "steps": curve["steps"],
        "best_step": curve["best_step"],
        "floor_per_step": stages.floor.per_step,
        "shapes": list(stages.floor.shapes.values()),
        "dim": checkpoint.spec.dim,
    }
    (folder / "run.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
