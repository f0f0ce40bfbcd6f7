"""One candidate: built from its row, started from closed form, trained, standardised."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.progress import Progress
from pipeline.prologue import Prepared
from training.autoencoder import Autoencoder, itself
from training.conditions import conditioned
from training.corruption import UNKNOWN
from training.fine_tuning import Decoding, FineTuning
from training.layout import Layout
from training.loop import to_rows, train
from training.matrix import TRAIN, Matrix, cut
from training.neighbours import Neighbours
from training.pretraining import PRETRAININGS, split_steps
from training.principal import Moments, balance, components, count_codes, install
from training.screening import unit_gates
from training.spec import EncoderSpec, TrainingConfig

ROWS_PER_RUN = 8192
KNOT_ROWS = 20_000
DECODER_SHARE, DECODER_SPEED = 0.25, 5.0
"""Steps and learning rate of a decoder that learns alone, of those of the whole network."""

LOOKS = 4
"""Looks of a run that learns from labels to one of any other."""

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
    generator = torch.Generator()
    generator.manual_seed(seed)
    spec = conditioned(spec, layout)
    model = Autoencoder(spec, layout, generator=generator)
    balance(model, moments)
    if spec.start == "principal":
        found = components(moments, layout, dim=spec.dim, reads="standardised")
        install(model, moments, found)
    model.knots.fit(matrix.take(matrix.sample(TRAIN, limit=KNOT_ROWS)).ranked)
    if spec.positives == "neighbours":
        model.partners = Neighbours.of(matrix, layout, moments).partners
    history: dict[str, Any] = {}
    layers: list[dict[str, Any]] = []
    if (pretrain := PRETRAININGS[spec.pretraining]) is not None:
        layers = pretrain(
            model, matrix, config=config, seed=seed, state_path=state_path, progress=progress
        )
        config = config.model_copy(update={"steps": split_steps(config.steps, len(layers))[1]})
    if spec.screened and spec.heads:
        gates = unit_gates(matrix, layout, spec.heads, seed=seed)
        model.shut(torch.from_numpy(gates).float())
    tuned = spec.target == "fine_tuned" and spec.heads != ()
    joint = spec.target == "joint" and spec.heads != ()
    if spec.trained:
        whole = _often(config) if joint else config
        curve = train(
            model,
            matrix,
            name=f"train {spec.recipe}",
            schedule=spec.schedule,
            config=_share(config, 0.5) if tuned else whole,
            seed=seed,
            labelled=joint,
            state_path=state_path,
            progress=progress,
        )
        history = curve.to_json() | {"pretraining": layers}
        history["seconds"] += sum(layer["seconds"] for layer in layers)
    if tuned:
        curve = train(
            FineTuning(model),
            matrix,
            name=f"fine-tune {spec.recipe}",
            schedule=spec.schedule,
            config=_often(_share(config, 0.5)),
            seed=seed,
            labelled=True,
            state_path=_beside(state_path, "tuned"),
            progress=progress,
        )
        history["fine_tuning"] = curve.to_json()
        history["seconds"] += curve.seconds
    if joint or tuned:
        faster = {"learning_rate": DECODER_SPEED * config.learning_rate}
        curve = train(
            Decoding(model),
            matrix,
            name=f"decoder of {spec.recipe}",
            schedule=spec.schedule,
            config=_share(config.model_copy(update=faster), DECODER_SHARE),
            seed=seed,
            state_path=_beside(state_path, "decoder"),
            progress=progress,
        )
        history["seconds"] += curve.seconds
    model.partners = itself
    settle_unseen(model, moments)
    model.eval()
    calibrate(model, matrix)
    history["seconds"] = round(history.get("seconds", time.perf_counter() - started), 3)
    history["collapsed"] = model.latent.collapsed
    return model, history


def _share(config: TrainingConfig, share: float) -> TrainingConfig:
    """`config` with a share of its steps."""
    return config.model_copy(update={"steps": max(1, round(config.steps * share))})


def _beside(state_path: Path | None, name: str) -> Path | None:
    return None if state_path is None else state_path.with_suffix(f".{name}.safetensors")


def _often(config: TrainingConfig) -> TrainingConfig:
    """`config` with looks at the validation rows as often as a run with labels needs them.

    What reads labels off a few thousand rows knows them by heart after a few epochs.
    """
    every = max(1, config.evaluate_every // LOOKS)
    return config.model_copy(update={"evaluate_every": every, "patience": config.patience * LOOKS})


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
        for block in matrix.blocks(TRAIN, rows_per_block=ROWS_PER_RUN):
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


def embed_rows(model: Autoencoder, prepared: Prepared) -> Floats:
    """Embedding [N, d] float32 of prepared rows, in runs of bounded size."""
    found = [np.empty((0, model.spec.dim), np.float32)]
    with torch.no_grad():
        for start in range(0, len(prepared.codes), ROWS_PER_RUN):
            part = cut(prepared, start, start + ROWS_PER_RUN)
            found.append(model.embed(*to_rows(part)).numpy())
    return np.concatenate(found)
