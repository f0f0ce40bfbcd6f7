"""A checkpoint becomes a bundle: built in memory, tried by the gate, and only then written."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch

from export.card import model_card
from export.conditions import told_columns
from export.generation import generation
from export.models import CORE, build
from export.profile import profile
from export.verify import verify
from pipeline.bundle import FORMAT, REPORT, Bundle, Manifest
from pipeline.events import tell
from pipeline.profile import TRAINING_PROFILE
from pipeline.residuals import GENERATION
from pipeline.runs import widest_layer

if TYPE_CHECKING:
    from training.checkpoint import Checkpoint

WEIGHTS, SPEC = "weights.safetensors", "spec.json"
_LIBRARIES = ("parquet2vec", "numpy", "onnx", "onnxruntime", "onnxscript", "pyarrow", "torch")


def export(checkpoint: Checkpoint, path: str | Path) -> Bundle:
    """The verified bundle of `checkpoint`, written to the folder `path` as a whole.

    The same checkpoint gives the same bytes, whenever and wherever it is exported with the same
    libraries. A bundle that stood at `path` is replaced.

    Raises:
        SchemaError: if a feature column has the name of an output.
        ParityError: if a check of the gate fails; nothing is written then.
        PublishError: if the folder cannot be written, or holds something else.
    """
    models = build(checkpoint, version=version("parquet2vec"))
    files = {name: model.SerializeToString(deterministic=True) for name, model in models.items()}
    parity = verify(files, checkpoint)
    kept = state_files(checkpoint) | {GENERATION: generation(files, checkpoint)}
    manifest = Manifest(
        format=FORMAT,
        feature_schema=checkpoint.schema,
        dim=checkpoint.spec.dim,
        recipe=checkpoint.spec.recipe,
        latent_names=tuple(f"embedding_{unit}" for unit in range(checkpoint.spec.dim)),
        widest_layer=widest_layer(models[CORE]),
        training_data=dict(checkpoint.training_data),
        split=checkpoint.split.to_json(),
        versions=library_versions(),
        conditions=tuple(column.name for column in told_columns(checkpoint)),
        prior=checkpoint.prior,
        parity=parity,
    )
    kept[TRAINING_PROFILE] = profile(manifest, files, checkpoint)
    bundle = Bundle.write(path, manifest=manifest, files=files | kept)
    add_report(bundle, checkpoint)
    tell("bundle written", bundle=str(bundle.path), model=bundle.fingerprint)
    return bundle


def state_files(checkpoint: Checkpoint) -> dict[str, bytes]:
    """What continues training: the weights, and everything that was chosen and fitted."""
    weights = {name: one.contiguous() for name, one in checkpoint.module.state_dict().items()}
    spec = {
        "spec": checkpoint.spec.model_dump(mode="json"),
        "prologue": checkpoint.prologue.to_json(),
        "seed": checkpoint.seed,
    }
    return {WEIGHTS: safetensors.torch.save(weights), SPEC: _json(spec)}


def add_report(bundle: Bundle, checkpoint: Checkpoint) -> None:
    """Write what a reader wants to know beside the sealed files; it is not part of the seal."""
    report = bundle.path / REPORT
    report.mkdir(exist_ok=True)
    told = {"history": checkpoint.history, "selection": checkpoint.selection}
    (report / "history.json").write_bytes(_json(told))
    (report / "model_card.md").write_text(model_card(bundle, checkpoint), encoding="utf-8")


def library_versions() -> dict[str, str]:
    """The libraries whose versions decide the bytes of a bundle or of its vectors."""
    found = {name: version(name) for name in _LIBRARIES}
    return found | {"python": platform.python_version()}


def _json(values: Any) -> bytes:
    return json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
