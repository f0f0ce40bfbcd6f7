"""Every recipe, trained, becomes a bundle that passes the gate and says what torch says.

An export takes seconds. What differs between graphs is the trunk, the latent and the conditions:
of the recipes that share all of them the first is exported by `make test`, the others by
`make chaos`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export import export
from pipeline import Encoder
from pipeline.bundle import Bundle
from training.candidates import embed_rows
from training.fit import fit
from training.recipes import RECIPES
from training.spec import EncoderSpec, TrainingConfig, TrainingJob

BUDGET = TrainingConfig(steps=60, rows_per_batch=64, learning_rate=3e-3, evaluate_every=30)
DIM = 5


def parameters() -> Iterator[Any]:
    seen = set()
    for name, spec in RECIPES.items():
        graph = (spec.trunk, spec.latent, spec.condition)
        yield pytest.param(name, marks=[pytest.mark.slow] if graph in seen else [])
        seen.add(graph)


def job(spec: EncoderSpec, source: Path) -> TrainingJob:
    """What asks for `spec` on the table of this folder's tests."""
    columns: dict[str, Any] = {"pixels": {"kind": "image", "shape": (2, 2)}}
    if spec.condition == "columns":
        columns["ciudad"] = {"role": "condition"}
    return TrainingJob(
        source=str(source),
        out=str(source.parent / "bundle"),
        recipe=spec.recipe,
        dim=DIM,
        label=("flag",),
        use_label=spec.target != "none" or spec.condition == "label",
        columns=columns,
        training=BUDGET,
    )


@pytest.mark.parametrize("recipe", list(parameters()))
def test_a_trained_recipe_ships(
    recipe: str, new_table: Callable[..., pa.Table], tmp_path: Path, subtests: pytest.Subtests
) -> None:
    table = new_table(600)
    pq.write_table(table, tmp_path / "table.parquet")
    asked = job(RECIPES[recipe], tmp_path / "table.parquet")
    checkpoint = fit(asked)
    bundle = export(checkpoint, asked.out)
    encoder = Encoder.open(bundle.path)
    fresh = new_table(300, seed=1)
    codes = encoder.transform(fresh)

    with subtests.test("the bundle says what it is and that its units are alive"):
        assert (bundle.manifest.recipe, bundle.manifest.dim) == (recipe, DIM)
        assert bundle.manifest.parity["latents"]["active_units"] == DIM
    with subtests.test("codes are those of torch"):
        expected = embed_rows(checkpoint.module, checkpoint.prologue.run(fresh))
        np.testing.assert_allclose(codes, expected, atol=1e-5, rtol=1e-5)
    with subtests.test("a row's code depends on no other row"):
        order = np.random.default_rng(0).permutation(len(codes))
        np.testing.assert_allclose(encoder.transform(fresh.take(order)), codes[order], atol=1e-6)
        np.testing.assert_allclose(encoder.transform(fresh.slice(7, 1)), codes[7:8], atol=1e-6)
    with subtests.test("the decoder gives columns back, better than their mean does"):
        # Also of a screened encoder, for it reads what tells little of the label, more quietly.
        assert missed(bundle, fresh, codes, names=("price", "count", "id near 1e15")) < 0.95


def missed(bundle: Bundle, table: pa.Table, codes: np.ndarray, *, names: tuple[str, ...]) -> float:
    """Share of the variance of columns that decoder.onnx misses, mean over the columns."""
    session = onnxruntime.InferenceSession(bundle.read("decoder.onnx"))
    inputs = {"embedding": codes}
    for wanted in session.get_inputs()[1:]:
        values = table[wanted.name].to_pylist()
        inputs[wanted.name] = np.array(["" if v is None else v for v in values], object)
    found = dict(zip(names, session.run(list(names), inputs), strict=True))
    shares = []
    for name in names:
        truth = np.array(table[name].to_pylist(), float)
        known = np.isfinite(truth)
        left = ((found[name].ravel() - truth)[known] ** 2).mean()
        shares.append(left / truth[known].var())
    return float(np.mean(shares))
