"""decoder.onnx with conditions: its inputs, its own part of the prologue, and the gate."""

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.conditions import condition_model, told_columns
from export.models import build
from export.package import export
from export.runtime import Runtime
from export.verify import verify
from pipeline.audit import audit
from pipeline.errors import BundleError, ParityError
from pipeline.feed import NULL_INT
from pipeline.generation import Sampler
from pipeline.schema import Column, FeatureSchema
from pipeline.signatures import signature
from pipeline.transforms import Classes
from training.checkpoint import Checkpoint
from training.fit import fit
from training.spec import TrainingConfig, TrainingJob

BUDGET = TrainingConfig(steps=30, rows_per_batch=64, learning_rate=3e-3, evaluate_every=30)


@pytest.fixture(scope="module")
def told(
    new_table: Callable[..., pa.Table], tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:
    """A cvae whose decoder is told a label of text, with nulls."""
    folder: Path = tmp_path_factory.mktemp("cvae")
    columns = ["amount", "price", "flag", "ciudad", "code"]
    pq.write_table(new_table(600).select(columns), folder / "table.parquet")
    return fit(
        TrainingJob(
            source=str(folder / "table.parquet"),
            out=str(folder / "bundle"),
            recipe="cvae",
            dim=3,
            label=("ciudad",),
            training=BUDGET,
        )
    )


@pytest.fixture(scope="module")
def files(told: Checkpoint) -> dict[str, bytes]:
    """The ONNX files of that checkpoint."""
    models = build(told, version=version("parquet2vec"))
    return {name: model.SerializeToString(deterministic=True) for name, model in models.items()}


def test_the_gate_passes_a_decoder_that_is_told_a_label(told, files):
    figures = verify(files, told)
    assert set(figures["torch"]["decoder.onnx"]) == {"held-out", "prior", "outside", "origin"}


def test_only_the_decoder_reads_the_label(files):
    for name, content in files.items():
        inputs = {one.name for one in onnx.ModelProto.FromString(content).graph.input}
        assert ("ciudad" in inputs) == (name == "decoder.onnx")


def test_rows_are_drawn_from_the_bundle_with_every_class_by_its_share(told, tmp_path):
    bundle = export(told, tmp_path / "bundle")
    strata = bundle.manifest.prior.strata
    assert len(strata) > 1 and strata == told.prior.strata
    fed = []
    sampler = Sampler(bundle)
    run = sampler._decoder
    sampler._decoder = lambda codes, given: fed.append(given["ciudad"]) or run(codes, given)
    assert "ciudad" not in sampler.draw(0, 2_000).schema.names
    known = {"": 0} | {text: code for code, text in enumerate(told.prologue.label.values, 1)}
    found = np.bincount([known[text] for text in fed[0]], minlength=len(known)) / 2_000
    for stratum in strata:
        assert found[stratum.codes[0]] == pytest.approx(stratum.share, abs=0.05)


def test_no_file_holds_the_spread_of_a_code(files):
    for content in files.values():
        held = {one.name for one in onnx.ModelProto.FromString(content).graph.initializer}
        assert not [name for name in held if "spread" in name or "log_variances" in name]


def test_a_decoder_that_swaps_two_classes_is_caught(told, files):
    model = onnx.ModelProto.FromString(files["decoder.onnx"])
    lookup = next(node for node in model.graph.node if node.input[0] == "ciudad")
    keys = next(one for one in lookup.attribute if one.name == "keys_strings").strings
    keys[0], keys[1] = keys[1], keys[0]
    with pytest.raises(ParityError, match=r"decoder.onnx against torch, .* codes"):
        verify(files | {"decoder.onnx": model.SerializeToString(deterministic=True)}, told)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"role": "ignore"}, "input 'ciudad', which the schema does not have"),
        ({"kind": "number", "type": "double"}, "input 'ciudad' as string"),
    ],
    ids=["ignored", "number"],
)
def test_a_decoder_may_only_be_told_a_label_as_the_schema_has_it(told, files, change, said):
    columns = [
        one.model_copy(update=change if one.name == "ciudad" else {}) for one in told.schema.columns
    ]
    required = signature("decoder.onnx", FeatureSchema(columns=tuple(columns)), dim=3)
    with pytest.raises(BundleError, match=said):
        audit(files["decoder.onnx"], required, where="decoder.onnx")


def lookup_of(told: Checkpoint, classes: Classes, type_: str) -> Runtime:
    """The prepared label of a checkpoint that has `classes` instead."""
    kind = "number" if classes.taken == "number" else "category"
    label = Column(name=classes.column, kind=kind, role="label", type=type_)
    schema = FeatureSchema(columns=(*told.schema.features, label))
    prologue = type(told.prologue)(schema, *[None] * 3, label=classes)  # type: ignore[arg-type]
    other = replace(told, schema=schema, prologue=prologue)
    assert [one.role for one in told_columns(other)] == ["condition"]
    model = condition_model(other)
    assert model is not None
    return Runtime(model)


@pytest.mark.parametrize(
    ("classes", "type_", "raw"),
    [
        (Classes("l", "text", ("b", "", "a")), "string", np.array(["a", "b", "", "?"], object)),
        (Classes("l", "integer", (7, -1, 3)), "int64", np.array([3, 7, NULL_INT, 4])),
        (Classes("l", "number", (0.5, 2.0, 9.0)), "double", np.array([9, 0.5, np.nan, np.inf])),
    ],
    ids=["text", "integer", "number"],
)
def test_a_label_becomes_its_code_and_anything_else_is_not_known(told, classes, type_, raw):
    found = lookup_of(told, classes, type_)({"l": raw})
    assert found["p2v/condition/given_codes"].tolist() == [[3], [1], [0], [0]]
