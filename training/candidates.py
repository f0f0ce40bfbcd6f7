"""One candidate: built from its row, started from closed form, trained, standardised."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.progress import Progress
from pipeline.prologue import Prepared
from training.autoencoder import Autoencoder
from training.conditions import conditioned
from training.convolution import sizes
from training.corruption import UNKNOWN
from training.layout import Layout
from training.loop import to_rows
from training.matrix import TRAIN, Matrix, cut
from training.neighbours import Neighbours
from training.objective import itself
from training.principal import Moments, balance, components, count_codes, install
from training.spec import EncoderSpec, TrainingConfig
from training.stages import Stage, train_in_stages

ROWS_PER_RUN, BYTES_PER_RUN = 8192, 128 * 2**20
KNOT_ROWS = 20_000

Floats = npt.NDArray[np.float32]


def training_moments(matrix: Matrix, layout: Layout) -> Moments:
    """Mean and covariance of the training rows, in two passes over the matrix."""
    counts = count_codes(matrix.blocks(TRAIN), layout)
    return Moments.of(matrix.blocks(TRAIN), layout, counts)


def make(
    spec: EncoderSpec,
    *,
    matrix: Matrix,
    layout: Layout,
    moments: Moments,
    config: TrainingConfig,
    seed: int,
    state_path: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Autoencoder, dict[str, Any]]:
    """A model in eval mode with standardised codes, and its history as plain data."""
    started = time.perf_counter()
    model = _begun(conditioned(spec, layout), matrix, layout, moments, seed=seed)
    history: dict[str, Any] = {}
    if spec.trained:
        stage = Stage(matrix, config, seed, state_path=state_path, progress=progress)
        history = train_in_stages(model, stage)
    model.partners = itself
    settle_unseen(model, moments)
    model.eval()
    calibrate(model, matrix)
    history["seconds"] = round(history.get("seconds", time.perf_counter() - started), 3)
    history["collapsed"] = model.latent.collapsed
    return model, history


def _begun(
    spec: EncoderSpec, matrix: Matrix, layout: Layout, moments: Moments, *, seed: int
) -> Autoencoder:
    """The network of `spec` with all that closed form and the training rows can give it."""
    generator = torch.Generator()
    generator.manual_seed(seed)
    model = Autoencoder(spec, layout, generator=generator)
    balance(model, moments)
    if spec.start == "principal":
        found = components(moments, layout, dim=spec.dim, reads="standardised")
        install(model, moments, found)
    model.knots.fit(matrix.take(matrix.sample(TRAIN, limit=KNOT_ROWS)).ranked)
    if spec.positives == "neighbours":
        model.partners = Neighbours.of(matrix, layout, moments).partners
    return model


def settle_unseen(model: Autoencoder, moments: Moments) -> None:
    """Let codes that no training row had (null, rare) stand for 'unknown', which was trained."""
    layout, seen = model.layout, []
    with torch.no_grad():
        for start, cardinality in zip(layout.offsets, layout.cardinalities, strict=True):
            had = torch.from_numpy(moments.shares[start : start + cardinality] > 0)
            own = model.table.weight[start : start + cardinality]
            own[~had] = own[UNKNOWN].clone()
            seen.append(had)
    if model.conditions is not None:
        model.conditions.settle(seen)


def calibrate(model: Autoencoder, matrix: Matrix) -> None:
    """Measure the raw codes of the training rows, in float64, and standardise by them."""
    count, total, squares = 0, torch.zeros(model.spec.dim).double(), torch.zeros(1).double()
    shift: torch.Tensor | None = None
    with torch.no_grad():
        for block in matrix.blocks(TRAIN, rows_per_block=rows_per_run(model)):
            raw = model.raw_code(*to_rows(block)).double()
            # Shifted by the first block's mean, so that the squares lose no digits.
            shift = raw.mean(0) if shift is None else shift
            total = total + (raw - shift).sum(0)
            squares = squares + (raw - shift).square().sum(0)
            count += len(raw)
    if shift is None:
        return
    mean = total / count
    deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
    model.latent.calibrate((shift + mean).float(), deviation.float())


def rows_per_run(model: Autoencoder) -> int:
    """Rows that go through a model at a time, so that no layer's images take too many bytes."""
    layers = [sizes(image, model.spec.channels) for image in model.layout.images]
    widest = max((math.prod(size) for layer in layers for size in layer), default=1)
    return max(1, min(ROWS_PER_RUN, BYTES_PER_RUN // (4 * widest)))


def runs(model: Autoencoder, prepared: Prepared) -> Iterator[Prepared]:
    """Prepared rows in runs of bounded size, without copying."""
    rows = rows_per_run(model)
    for start in range(0, len(prepared.codes), rows):
        yield cut(prepared, start, start + rows)


def embed_rows(model: Autoencoder, prepared: Prepared) -> Floats:
    """Embedding [N, d] float32 of prepared rows, in runs of bounded size."""
    found = [np.empty((0, model.spec.dim), np.float32)]
    with torch.no_grad():
        found += [model.embed(*to_rows(part)).numpy() for part in runs(model, prepared)]
    return np.concatenate(found)
