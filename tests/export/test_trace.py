from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from export.models import build, widths
from export.runtime import Runtime
from export.trace import Widths, input_name, output_name, trace
from pipeline.errors import ParityError
from training.checkpoint import Checkpoint
from training.likelihoods import Decoded


class Tiny(nn.Module):
    """The least that can be exported: two numbers in, one code out."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(2, 1), nn.Dropout(0.5))

    def embed(self, numeric: Tensor, ranked: Tensor, codes: Tensor) -> Tensor:
        return self.layer(numeric)

    def decode(self, embedding: Tensor) -> Decoded:
        return Decoded(embedding.repeat(1, 2), embedding[:, :0], embedding[:, :0])

    def reconstruction_error(self, numeric: Tensor, ranked: Tensor, codes: Tensor) -> Tensor:
        return (numeric @ torch.ones(2, 1))[:, 0]


class Branching(Tiny):
    def embed(self, numeric: Tensor, ranked: Tensor, codes: Tensor) -> Tensor:
        return numeric if numeric.isnan().any() else -numeric


TWO_NUMBERS = Widths(numeric=2, ranked=0, codes=0, logits=0)


def test_a_module_in_training_mode_is_exported_without_its_dropout() -> None:
    module = Tiny().train()
    model = trace(module, widths=TWO_NUMBERS, dim=1)
    assert module.training and all(one.requires_grad for one in module.parameters())
    x = np.ones((5, 2), np.float32)
    found = Runtime(model)({input_name("numeric"): x, input_name("latent"): x[:, :1]})
    with torch.no_grad():
        expected = module.layer[0](torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found[output_name("embedding")], expected, atol=1e-6)


def test_a_branch_on_the_data_is_refused_with_a_reason() -> None:
    with pytest.raises(ParityError, match=r"cannot be written as ONNX: .*data-dependent"):
        trace(Branching(), widths=TWO_NUMBERS, dim=1)


@pytest.mark.parametrize(
    "columns", [["amount", "price"], ["ciudad", "code"], ["pixels"], ["flag"]], ids=str
)
def test_kinds_that_a_table_lacks_leave_no_trace(
    columns: list[str],
    new_table: Callable[..., pa.Table],
    new_checkpoint: Callable[..., Checkpoint],
) -> None:
    checkpoint = new_checkpoint(new_table(200).select(columns), dim=1)
    models = build(checkpoint, version="0")
    assert {one.name for one in models["encoder.onnx"].graph.input} == set(columns)
    assert {one.name for one in models["decoder.onnx"].graph.output} == set(columns)
    assert ("lookup.onnx" in models) == bool(widths(checkpoint).codes)


def test_exporting_says_nothing(capfd: Any) -> None:
    trace(Tiny(), widths=TWO_NUMBERS, dim=1)
    assert capfd.readouterr() == ("", "")
