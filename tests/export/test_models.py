from collections.abc import Callable
from pathlib import Path

import onnx
import pyarrow as pa
import pytest

from export.models import build, check_names
from pipeline.errors import SchemaError
from pipeline.schema import Column, FeatureSchema
from pipeline.transforms.rank_gauss import KNOTS
from training.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def models(files: dict[str, bytes]) -> dict[str, onnx.ModelProto]:
    return {name: onnx.ModelProto.FromString(content) for name, content in files.items()}


def names(values: object) -> set[str]:
    return {one.name for one in values}  # type: ignore[attr-defined]


def test_a_bundle_has_five_files(models: dict[str, onnx.ModelProto]) -> None:
    stems = ["core", "decoder", "encoder", "lookup", "scorer"]
    assert list(models) == [f"{stem}.onnx" for stem in stems]


def test_columns_go_in_by_name_and_vectors_come_out(
    models: dict[str, onnx.ModelProto], checkpoint: Checkpoint
) -> None:
    features = {column.name for column in checkpoint.schema.features}
    encoder, scorer = models["encoder.onnx"].graph, models["scorer.onnx"].graph
    assert names(encoder.input) == names(scorer.input) == features
    assert names(encoder.output) == {"embedding"}
    assert names(scorer.output) == {"embedding", "reconstruction_error"}


def test_the_decoder_turns_a_vector_into_columns(
    models: dict[str, onnx.ModelProto], checkpoint: Checkpoint
) -> None:
    graph = models["decoder.onnx"].graph
    assert names(graph.input) == {"embedding"}
    assert names(graph.output) == {column.name for column in checkpoint.schema.features}


def test_the_embedding_is_float32_of_a_free_batch_size(models: dict[str, onnx.ModelProto]) -> None:
    for file in ("encoder.onnx", "core.onnx", "scorer.onnx"):
        tensor = models[file].graph.output[0].type.tensor_type
        batch, width = tensor.shape.dim
        assert (tensor.elem_type, batch.dim_param, width.dim_value) == (1, "batch", 4)


def test_every_file_loads_on_runtimes_since_1_17(models: dict[str, onnx.ModelProto]) -> None:
    for model in models.values():
        assert model.ir_version == 8
        assert {one.domain: one.version for one in model.opset_import}.items() <= {
            "": 18,
            "ai.onnx.ml": 3,
        }.items()


def test_strings_are_looked_up_outside_the_core(models: dict[str, onnx.ModelProto]) -> None:
    assert "LabelEncoder" not in {node.op_type for node in models["core.onnx"].graph.node}


def test_no_file_tells_where_it_was_made(files: dict[str, bytes]) -> None:
    folder = Path(onnx.__file__).parent.parent
    home = Path(__file__).parent.parent.parent
    for content in files.values():
        for trace in (str(folder), str(home), str(Path.home()), ".py", "torch"):
            assert trace.encode() not in content


def test_every_file_says_what_it_is(
    models: dict[str, onnx.ModelProto], checkpoint: Checkpoint
) -> None:
    for model in models.values():
        facts = {one.key.removeprefix("parquet2vec."): one.value for one in model.metadata_props}
        assert FeatureSchema.model_validate_json(facts["schema"]) == checkpoint.schema
        assert facts["schema_fingerprint"] == checkpoint.schema.fingerprint
        assert facts["dim"] == "4"
        assert {"null_tokens", "training_data", "licence", "recipe"} <= set(facts)


def test_an_encoder_that_does_not_rank_does_not_compute_ranks(
    models: dict[str, onnx.ModelProto],
    new_checkpoint: Callable[..., Checkpoint],
    table: pa.Table,
) -> None:
    linear = build(new_checkpoint(table), version="0")["encoder.onnx"]
    ramps = [node.op_type for node in linear.graph.node].count("Clip")
    both = [node.op_type for node in models["encoder.onnx"].graph.node].count("Clip")
    assert both - ramps >= KNOTS - 1


def test_columns_may_be_called_like_inner_matrices(
    new_checkpoint: Callable[..., Checkpoint], table: pa.Table
) -> None:
    named = table.select(["amount", "price", "count", "ciudad"])
    named = named.rename_columns(["numeric", "ranked", "logits", "codes"])
    encoder = build(new_checkpoint(named), version="0")["encoder.onnx"]
    assert names(encoder.graph.input) == {"numeric", "ranked", "logits", "codes"}


@pytest.mark.parametrize("name", ["embedding", "reconstruction_error"])
def test_a_column_called_like_an_output_is_refused(name: str) -> None:
    column = Column(name=name, kind="number", role="feature", type="double")
    with pytest.raises(SchemaError, match=f"found {name}; rename or ignore"):
        check_names(FeatureSchema(columns=(column,)))
