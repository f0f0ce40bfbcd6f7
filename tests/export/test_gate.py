import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor

from export import export
from export.models import build
from export.verify import verify
from pipeline.errors import ParityError
from training.autoencoder import Autoencoder
from training.checkpoint import Checkpoint

Files = dict[str, bytes]


class NeighbourDependent(Autoencoder):
    def embed(self, numeric: Tensor, ranked: Tensor, codes: Tensor) -> Tensor:
        found = super().embed(numeric, ranked, codes)
        return found + 0.01 * found.mean(dim=0)


class Logarithmic(Autoencoder):
    def embed(self, numeric: Tensor, ranked: Tensor, codes: Tensor) -> Tensor:
        return (super().embed(numeric, ranked, codes).abs() + 1).log()


class Random(Autoencoder):
    def embed(self, numeric: Tensor, ranked: Tensor, codes: Tensor) -> Tensor:
        return torch.dropout(super().embed(numeric, ranked, codes), 0.5, train=True)


class Dead(Autoencoder):
    def embed(self, numeric: Tensor, ranked: Tensor, codes: Tensor) -> Tensor:
        return super().embed(numeric, ranked, codes) * 0


class Crowding(Autoencoder):
    """Most rows get one vector, as from rectifiers that died."""

    def embed(self, numeric: Tensor, ranked: Tensor, codes: Tensor) -> Tensor:
        found = super().embed(numeric, ranked, codes)
        return found * (found[:, :1] > 0.8)


class Infinite(Autoencoder):
    """Overflows where a number lies far outside, and only there."""

    def embed(self, numeric: Tensor, ranked: Tensor, codes: Tensor) -> Tensor:
        outside = (numeric.abs().amax(1, keepdim=True) >= 5).float()
        return super().embed(numeric, ranked, codes) / (1 - outside)


def changed(content: bytes, change: Callable[[np.ndarray], np.ndarray], *, name: str) -> bytes:
    """The model with the weights `name` changed."""
    model = onnx.ModelProto.FromString(content)
    weights = next(one for one in model.graph.initializer if one.name.endswith(name))
    weights.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(weights)), weights.name))
    return model.SerializeToString()


def test_an_honest_bundle_passes_with_figures(files: Files, checkpoint: Checkpoint) -> None:
    figures = verify(files, checkpoint)
    assert figures["rows"]["held-out"] == 200 and figures["rows"]["adversarial"] % 2
    assert 0 < figures["torch"]["encoder.onnx"]["held-out"] < 1e-5
    assert 0 < figures["reference"]["decoder.onnx"] < 1e-5
    assert figures["lookup_and_core_identical"] is True
    assert figures["steady"]["encoder.onnx"]["bit_identical"] is True
    assert figures["latents"]["active_units"] == 4


def test_a_module_changed_after_the_trace_is_caught(files: Files, checkpoint: Checkpoint) -> None:
    module = copy.deepcopy(checkpoint.module)
    with torch.no_grad():
        module.path.weight[0, 0] += 1e-3
    with pytest.raises(ParityError) as refused:
        verify(files, replace(checkpoint, module=module))
    message = str(refused.value)
    assert "'encoder.onnx against torch, held-out rows'" in message
    assert "may differ by" in message and "(amount=" in message


@pytest.mark.parametrize(
    ("file", "weights", "check"),
    [
        ("encoder.onnx", "path.weight", "encoder.onnx against torch"),
        ("core.onnx", "path.weight", "lookup.onnx and core.onnx against encoder.onnx"),
        ("decoder.onnx", "decoder.0.bias", "decoder.onnx against torch"),
        ("scorer.onnx", "decoder.0.bias", "scorer.onnx against torch"),
    ],
)
def test_a_file_changed_by_a_thousandth_is_caught(
    files: Files, checkpoint: Checkpoint, file: str, weights: str, check: str
) -> None:
    tampered = changed(files[file], lambda values: values * np.float32(1.001), name=weights)
    with pytest.raises(ParityError, match=check):
        verify(files | {file: tampered}, checkpoint)


def test_a_lookup_that_swaps_two_words_is_caught(files: Files, checkpoint: Checkpoint) -> None:
    model = onnx.ModelProto.FromString(files["lookup.onnx"])
    encoder = next(node for node in model.graph.node if node.op_type == "LabelEncoder")
    keys = next(one for one in encoder.attribute if one.name == "keys_strings").strings
    keys[1], keys[2] = keys[2], keys[1]
    with pytest.raises(ParityError, match="must be identical to the last bit"):
        verify(files | {"lookup.onnx": model.SerializeToString()}, checkpoint)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (
            NeighbourDependent,
            r"'encoder.onnx in batches of \d+' failed: .* found \d.* in \d+ of \d+ rows",
        ),
        (Logarithmic, r"encoder.onnx must compute each row by itself .* found Log"),
        (Random, r"must compute each row by itself .* found Dropout"),
        (Dead, r"at least 2 of 4 units must vary over held-out rows, found 0"),
        (Crowding, r"different rows must get different vectors, found one vector for \d+%"),
        (Infinite, r"every value must be finite, found inf or NaN in \d+ of \d+ rows: row"),
    ],
    ids=["neighbours", "logarithm", "dropout", "dead", "crowding", "infinite"],
)
def test_a_module_that_must_not_ship_leaves_nothing_behind(
    module: type[Autoencoder],
    said: str,
    new_checkpoint: Callable[..., Checkpoint],
    table: pa.Table,
    tmp_path: Path,
) -> None:
    checkpoint = new_checkpoint(table.select(["amount", "flag", "ciudad"]), module=module)
    with pytest.raises(ParityError, match=said):
        export(checkpoint, tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_few_held_out_rows_are_enough(
    new_checkpoint: Callable[..., Checkpoint], table: pa.Table
) -> None:
    checkpoint = new_checkpoint(table.select(["price", "code"]), dim=2)
    files = {
        name: model.SerializeToString() for name, model in build(checkpoint, version="0").items()
    }
    for rows in (0, 1):
        few = replace(checkpoint, held_out=checkpoint.held_out.slice(0, rows))
        assert verify(files, few)["rows"]["held-out"] == rows
