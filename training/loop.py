"""The only training loop: steps, validation, early stopping, resuming."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pipeline.progress import Progress
from pipeline.prologue import Prepared
from training.corruption import Rows
from training.matrix import TRAIN, VALIDATION, Batch, Matrix, joined, spread
from training.schedule import SCHEDULES
from training.shuffling import Shuffled
from training.spec import Schedule, TrainingConfig
from training.tensors import read_tensors, write_tensors

VALIDATION_ROWS = 4096
FEW_LABELS = 0.25
"""Share of labelled rows below which each step adds labelled rows to its batch."""

_NOISE_SEED = 20_051


class Learner(Protocol):
    """A module that knows its own loss: the whole network, or a layer of it."""

    def loss(
        self, rows: Rows, labels: Tensor, *, generator: torch.Generator, progress: float
    ) -> Tensor:
        """The scalar that training lowers; see `Autoencoder.loss`."""

    def terms(
        self, rows: Rows, labels: Tensor, *, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        """The same as ``loss``, and by name what else is worth a curve."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take a checkpoint's state."""

    def train(self) -> Any:
        """Begin training."""

    def eval(self) -> Any:
        """End training."""


@dataclass
class Curve:
    """What a run showed: loss by step, and how fast it went.

    `train` and `validation` hold pairs (step, loss), `terms` such pairs of what else the
    model tells of the validation rows; `seconds` leaves out what a killed run spent.
    """

    train: list[tuple[int, float]] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)
    terms: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    best_step: int = 0
    steps: int = 0
    seconds: float = 0.0
    rows_per_second: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The curve as plain data."""
        return dict(vars(self))


@dataclass
class _Run:
    """What changes while training, all of it saved in a checkpoint."""

    model: Learner
    schedule: Schedule
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    best: dict[str, Tensor]
    best_loss: float = float("inf")
    step: int = 0
    waited: int = 0
    done: bool = False
    losses: list[float] = field(default_factory=list)
    curve: Curve = field(default_factory=Curve)


def train(
    model: Learner,
    matrix: Matrix,
    *,
    name: str,
    schedule: Schedule,
    config: TrainingConfig,
    seed: int,
    labelled: bool = False,
    state_path: Path | None = None,
    progress: Progress | None = None,
) -> Curve:
    """Train `model` in place; it ends with the weights of the best validation loss.

    `name` is what the progress shows, `schedule` the course of the learning rate. A model that
    learns from labels is `labelled`: rows that have one judge it, and where they are few some are
    added to every batch.

    With a `state_path` the run is checkpointed there and, when the file exists, continued: the
    result is the same as that of a run that was never stopped.
    """
    batches = Shuffled(matrix, rows_per_batch=config.rows_per_batch, seed=seed)
    run = _begin(model, schedule, config, seed)
    if state_path is not None and state_path.exists():
        _restore(run, state_path)
    more = _labelled_batches(matrix, config, seed) if labelled else None
    validation = _validation_rows(matrix, batches.rows_per_batch, labelled=labelled)
    if progress is not None:
        progress.start(name, config.steps)
        progress.advance(run.step)
    started, begun, first = time.perf_counter(), run.curve.seconds, run.step
    while not run.done:
        loss = _step(run, batches, more, config)
        seconds = time.perf_counter() - started
        run.curve.seconds = begun + seconds
        run.curve.rows_per_second = (run.step - first) * batches.rows_per_batch / seconds
        if progress is not None:
            progress.advance(1, loss=loss, rows_per_second=run.curve.rows_per_second)
        if run.step % config.evaluate_every == 0 or run.step == config.steps:
            _look(run, validation, config)
        run.done |= run.step >= config.steps
        if state_path is not None and (run.step % config.checkpoint_every == 0 or run.done):
            _save(run, state_path)
    model.load_state_dict(run.best)
    model.eval()
    if progress is not None:
        progress.finish()
    return run.curve


def to_rows(prepared: Prepared) -> Rows:
    """Prepared arrays as tensors."""
    return Rows(*(torch.from_numpy(part) for part in prepared))


def _begin(model: Learner, schedule: Schedule, config: TrainingConfig, seed: int) -> _Run:
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    generator = torch.Generator()
    generator.manual_seed(seed)
    return _Run(model, schedule, optimizer, generator, best=_copy(model.state_dict()))


def _step(run: _Run, batches: Shuffled, more: Shuffled | None, config: TrainingConfig) -> float:
    share = SCHEDULES[run.schedule](run.step / config.steps)
    for group in run.optimizer.param_groups:
        group["lr"] = config.learning_rate * share
    batch = batches.batch(run.step)
    if more is not None:
        batch = joined([batch, more.batch(run.step)])
    loss = run.model.loss(
        *_tensors(batch), generator=run.generator, progress=run.step / config.steps
    )
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.clip_norm)
    run.optimizer.step()
    run.step += 1
    run.losses.append(float(loss.detach()))
    return run.losses[-1]


def _tensors(batch: Batch) -> tuple[Rows, Tensor]:
    return to_rows(batch.rows), torch.from_numpy(batch.labels)


def _look(run: _Run, validation: list[Batch], config: TrainingConfig) -> None:
    """Measure the validation loss, keep the weights if they are the best, stop if none came."""
    # The noise is the same at each look, so that two looks differ by the weights alone.
    generator = torch.Generator()
    generator.manual_seed(_NOISE_SEED)
    run.model.eval()
    with torch.no_grad():
        # Judged by the loss that the run ends with, so that warm-ups do not count as progress.
        found = [run.model.terms(*_tensors(b), generator=generator, progress=1) for b in validation]
    run.model.train()
    terms = {name: sum(float(one[name]) for one in found) / len(found) for name in found[0]}
    loss = terms.pop("loss")
    for name, value in terms.items():
        run.curve.terms.setdefault(name, []).append((run.step, value))
    run.curve.train.append((run.step, sum(run.losses) / max(1, len(run.losses))))
    run.curve.validation.append((run.step, loss))
    run.curve.steps = run.step
    run.losses.clear()
    if loss < run.best_loss:
        run.best_loss, run.waited, run.curve.best_step = loss, 0, run.step
        run.best = _copy(run.model.state_dict())
    else:
        run.waited += 1
        run.done = run.waited >= config.patience


def _labelled_batches(matrix: Matrix, config: TrainingConfig, seed: int) -> Shuffled | None:
    """Batches of labelled training rows alone; None where every batch has enough of them."""
    rows = matrix.where(TRAIN)
    known = rows[matrix.labelled(rows)]
    if not len(known) or len(known) >= FEW_LABELS * len(rows):
        return None
    count = max(1, round(config.rows_per_batch * FEW_LABELS))
    return Shuffled(matrix, rows_per_batch=count, seed=seed, rows=known)


def _validation_rows(matrix: Matrix, rows_per_batch: int, *, labelled: bool) -> list[Batch]:
    """Validation rows in batches; repeated when few, so that the noise averages out."""
    split = VALIDATION if len(matrix.where(VALIDATION)) else TRAIN
    among = matrix.where(split)
    known = among[matrix.labelled(among)] if labelled else among
    rows = spread(known if len(known) else among, limit=VALIDATION_ROWS)
    count = max(1, len(rows) // rows_per_batch)
    batches = [matrix.batch(part) for part in _cut(rows, count)]
    return batches * max(1, VALIDATION_ROWS // (4 * max(1, len(rows))))


def _cut(rows: Any, count: int) -> list[Any]:
    # Strided: rows that lie together may be alike, and InfoNCE compares within a batch.
    return [rows[start::count] for start in range(count)]


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def _save(run: _Run, path: Path) -> None:
    tensors = {f"model/{name}": tensor for name, tensor in run.model.state_dict().items()}
    tensors |= {f"best/{name}": tensor for name, tensor in run.best.items()}
    for index, state in run.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": tensor for name, tensor in state.items()}
    tensors["generator"] = run.generator.get_state()
    figures = {
        name: getattr(run, name) for name in ("best_loss", "step", "waited", "done", "losses")
    }
    write_tensors(path, tensors, {**figures, "curve": run.curve.to_json()})


def _restore(run: _Run, path: Path) -> None:
    tensors, figures = read_tensors(path)
    run.model.load_state_dict(_part(tensors, "model/"))
    run.best = _part(tensors, "best/")
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _part(tensors, "optimizer/").items():
        index, _, which = name.partition("/")
        state.setdefault(int(index), {})[which] = tensor
    groups = run.optimizer.state_dict()["param_groups"]
    run.optimizer.load_state_dict({"state": state, "param_groups": groups})
    run.generator.set_state(tensors["generator"])
    run.curve = Curve(**figures.pop("curve"))
    for name, value in figures.items():
        setattr(run, name, value)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
