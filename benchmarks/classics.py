"""Anchors on MNIST: what the literature reports, with the product's own recipes and loop.

Usage: python benchmarks/classics.py FOLDER [--only ANCHOR ...] [--threads 2] [--share 1.0]
                                     [--out docs/benchmarks] [--work build/classics]

FOLDER holds ``train.parquet`` (60,000 images) and ``test.parquet`` (10,000): `pixels`, a list of
784 bytes, and `label`. Training is checkpointed below `--work`: a killed run goes on, and anchors
that are done keep their figures. `--share` shortens every run, for a look. Writes classics.md and
classics.json; CPU minutes stand beside each figure.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from classics_figures import (
    autoencoder_error,
    digits_recognised,
    importance_nats,
    stacked_error,
)
from classics_images import Images, binary, grey
from classics_report import write_report

from training.autoencoder import Autoencoder
from training.fit import learn
from training.matrix import TRAIN
from training.spec import NetworkConfig, TrainingConfig
from training.targets import heads_of

ROWS_PER_BATCH = 256
LOOK = 500  # steps between two looks and two checkpoints


@dataclass(frozen=True)
class Anchor:
    """A published figure, the recipe that is to reach it, and how it is measured."""

    what: str
    published: str
    required: float
    unit: str
    images: Callable[[Path, Path], Images]
    recipe: str
    dim: int
    network: dict[str, Any]
    passes: float
    learning_rate: float
    figure: Callable[[Autoencoder, Images], float]
    weight_decay: float = 0.0
    labelled: bool = False
    least: bool = False

    def holds(self, found: float) -> bool:
        """Whether a figure is what is required of it."""
        return found >= self.required if self.least else found <= self.required


def run(name: str, folder: Path, work: Path, *, threads: int, share: float) -> dict[str, Any]:
    """The figure of one anchor and what it cost; training goes on where it was."""
    anchor = ANCHORS[name]
    images = anchor.images(folder, work)
    rows = images.matrix.where(TRAIN)
    state = work / name
    state.mkdir(parents=True, exist_ok=True)
    spent = state / "seconds.json"
    before = json.loads(spent.read_text()) if spent.exists() else 0.0
    torch.set_num_threads(threads)
    started = time.process_time()
    progress = Minutes(spent, before)
    steps = max(10, round(share * anchor.passes * len(rows) / ROWS_PER_BATCH))
    config = TrainingConfig(
        steps=steps,
        rows_per_batch=ROWS_PER_BATCH,
        learning_rate=anchor.learning_rate,
        weight_decay=anchor.weight_decay,
        evaluate_every=LOOK,
        checkpoint_every=LOOK,
        patience=steps,
        threads=threads,
    )
    labels = images.matrix.labels[rows]
    _, model, history, _ = learn(
        anchor.recipe,
        images.matrix,
        images.layout,
        dim=anchor.dim,
        network=NetworkConfig(**anchor.network),
        config=config,
        heads=heads_of(labels, ["label"]) if anchor.labelled else (),
        folder=state,
        progress=progress,
    )
    trained = before + time.process_time() - started
    return {
        "figure": round(anchor.figure(model, images), 4),
        "minutes": round(trained / 60, 2),
        "steps": steps,
        "best_step": history[anchor.recipe]["best_step"],
        "threads": threads,
        "share": share,
    }


class Minutes:
    """A progress that prints a line now and then, and keeps the CPU seconds that were spent."""

    def __init__(self, path: Path, before: float) -> None:
        self._path, self._before = path, before
        self._started, self._told = time.process_time(), time.monotonic()
        self._what, self._total, self._done = "", 0, 0

    def start(self, what: str, total: int) -> None:
        """Begin something of `total` steps."""
        self._what, self._total, self._done = what, total, 0

    def advance(self, n: int, **figures: float) -> None:
        """Some steps are done."""
        self._done += n
        spent = self._before + time.process_time() - self._started
        if self._done % LOOK == 0:
            self._path.write_text(json.dumps(spent))
        if time.monotonic() - self._told > 30:
            self._told = time.monotonic()
            loss = figures.get("loss", float("nan"))
            done = f"{self._done:,}/{self._total:,}"
            print(f"{self._what}: {done}, loss {loss:.4f}, {spent / 60:.1f} min", flush=True)

    def finish(self) -> None:
        """It is done."""


ANCHORS = {
    "autoencoder": Anchor(
        what="30-dimensional autoencoder 784-1000-500-250-30: squared error per test image",
        published="3.00 (Hinton & Salakhutdinov 2006), PCA 13.87",
        required=3.3,
        unit="",
        images=grey,
        recipe="plain",
        dim=30,
        network={
            "hidden": (1000, 500, 250),
            "decoder_hidden": (250, 500, 1000),
            "activation": "silu",
            "numbers": "bernoulli",
            "corruption": "gaussian",
            "corruption_rate": 0.3,
        },
        passes=40,
        learning_rate=2e-3,
        figure=autoencoder_error,
    ),
    "stacked": Anchor(
        what="stacked denoising autoencoder 784-1000-1000-1000, fine-tuned: test error",
        published="1.28 % (Vincent et al. 2010)",
        required=1.5,
        unit=" %",
        images=grey,
        recipe="stacked",
        dim=100,
        network={
            "view": "standardised",
            "hidden": (1000, 1000, 1000),
            "decoder_hidden": (1000, 1000, 1000),
            "corruption": "mask",
            "corruption_rate": 0.25,
            "layer_corruption": (0.25,),
            "target": "fine_tuned",
        },
        passes=60,
        learning_rate=1e-3,
        figure=stacked_error,
        weight_decay=0.01,
        labelled=True,
    ),
    "vae": Anchor(
        what="VAE on binarised images: nats by 5,000 importance samples, 1,000 test images",
        published="86.8 (Burda et al. 2016, fully connected)",
        required=93,
        unit=" nats",
        images=binary,
        recipe="vae",
        dim=50,
        network={
            "view": "standardised",
            "hidden": (400, 400),
            "decoder_hidden": (400, 400),
            "activation": "silu",
            "numbers": "bernoulli",
            "free_bits": 0.0,
            "warm_up": 0.2,
        },
        passes=14,
        learning_rate=1e-3,
        figure=importance_nats,
    ),
    "cvae": Anchor(
        what="CVAE: digits drawn under a condition that another classifier takes for the wanted",
        published="–",
        required=95,
        unit=" %",
        images=grey,
        recipe="cvae",
        dim=16,
        network={
            "view": "standardised",
            "hidden": (400, 400),
            "decoder_hidden": (400, 400),
            "activation": "silu",
            "numbers": "bernoulli",
            "condition": "label",
            "free_bits": 0.0,
        },
        passes=20,
        learning_rate=1e-3,
        figure=digits_recognised,
        least=True,
    ),
}


def main() -> None:
    """Measure the anchors that are asked for and not done, and write the report after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(ANCHORS), default=list(ANCHORS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--work", type=Path, default=Path("build/classics"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "classics.json"
    for name in given.only:
        results = known(kept)
        if results.get(name, {}).get("share") == given.share:
            print(f"{name}: done before; remove it from {kept} to measure anew")
            continue
        work = given.work / f"share-{given.share:g}"
        found = run(name, given.folder, work, threads=given.threads, share=given.share)
        print(f"{name}: {found}", flush=True)
        # Read again: another process may have measured another anchor meanwhile.
        results = known(kept) | {name: found}
        kept.write_text(json.dumps(results, indent=1) + "\n")
        write_report(results, ANCHORS, given.out)
    write_report(known(kept), ANCHORS, given.out)


def known(kept: Path) -> dict[str, Any]:
    """The figures that are there already, by anchor."""
    return json.loads(kept.read_bytes()) if kept.exists() else {}


if __name__ == "__main__":
    main()
