"""What a decoder is told of a row beside its code: condition columns, or the label (Sohn 2015).

Condition columns are ordinary ones, so the encoder reads them as well. A label is for the decoder
only, so that embedding never needs one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError
from pipeline.feed import NULL_TEXT
from pipeline.schema import FeatureSchema
from pipeline.transforms.classes import NOT_KNOWN, Classes
from training.corruption import Rows
from training.labels import task_of
from training.layout import Layout
from training.spec import EncoderSpec

WIDTH = 16
"""Learnt features of each category that is a condition."""
FORGOTTEN = 0.03
"""Share of training rows whose conditions are withheld, so that "not known" is a condition too.

From these only the decoder learns. An encoder that learnt from them would put the conditions into
the code: that costs ten classes 2.3 nats, and wins back some 20 in a row that is not told.
"""

_TELLING = ("two classes", "classes")
_ROLE = (
    'say role = "condition" of a column that varies, in the table [train.columns.NAME] of a '
    "project file"
)
NEEDED = f"a conditional recipe needs a condition, found none; name a --label, or {_ROLE}"

Floats = npt.NDArray[np.float64]


class Condition(NamedTuple):
    """Prepared conditions of rows: numeric [N, G] float32, codes [N, H] int64; 0 is "not known"."""

    numeric: Tensor
    codes: Tensor


class Conditions(nn.Module):
    """Turns prepared conditions into what the decoder reads, [N, width]."""

    numeric_slots: Tensor
    code_columns: Tensor
    offsets: Tensor
    label_numbers: Tensor

    def __init__(self, layout: Layout, *, by_label: bool, generator: torch.Generator):
        super().__init__()
        given = (() if by_label else layout.given_numeric, () if by_label else layout.given_codes)
        slots, columns = ([i for i, told in enumerate(part) if told] for part in given)
        self.by_label = by_label
        self.cardinalities = tuple(layout.cardinalities[column] for column in columns)
        if by_label:
            self.cardinalities = (1 + len(layout.label_numbers),)
        first = [sum(self.cardinalities[:place]) for place in range(len(self.cardinalities))]
        for name, values, dtype in (
            ("numeric_slots", slots, torch.int64),
            ("code_columns", columns, torch.int64),
            ("offsets", first, torch.int64),
            ("label_numbers", layout.label_numbers, torch.float64),
        ):
            self.register_buffer(name, torch.tensor(values, dtype=dtype), persistent=False)
        self.width = len(slots) + WIDTH * len(self.cardinalities)
        if self.cardinalities:
            self.table = nn.Embedding(sum(self.cardinalities), WIDTH)
            nn.init.normal_(self.table.weight, generator=generator)

    def forward(self, condition: Condition) -> Tensor:
        """Features [N, width] of prepared conditions."""
        if not self.cardinalities:
            return condition.numeric
        cells = self.table(condition.codes + self.offsets)
        cells = cells.reshape(-1, WIDTH * len(self.cardinalities))
        return torch.cat([condition.numeric, cells], dim=1) if len(self.numeric_slots) else cells

    def of(self, rows: Rows, labels: Tensor | None) -> Condition | None:
        """The conditions of prepared rows; `labels` [N, L] as in a batch, the first one counts.

        None where they need labels and there are none: not known.
        """
        if not self.by_label:
            return Condition(rows.numeric[:, self.numeric_slots], rows.codes[:, self.code_columns])
        if labels is None:
            return None
        same = labels[:, :1] == self.label_numbers
        codes = torch.where(same.any(1), same.to(torch.int64).argmax(1) + 1, NOT_KNOWN)
        return Condition(rows.numeric[:, :0], codes[:, None])

    def unknown(self, code: Tensor) -> Tensor:
        """Features [N, width] of conditions that are not known, for as many rows as `code` has."""
        numeric = torch.zeros((1, len(self.numeric_slots)), dtype=code.dtype)
        codes = torch.full((1, len(self.cardinalities)), NOT_KNOWN)
        return self(Condition(numeric, codes)).expand(code.shape[0], -1)  # type: ignore[no-any-return]

    def forget(self, condition: Condition, generator: torch.Generator) -> tuple[Condition, Tensor]:
        """The same with all conditions of some rows withheld, and which, bool [N, 1].

        Source: classifier-free guidance, Ho & Salimans 2022 (arXiv 2207.12598), algorithm 1.
        """
        lost = torch.rand((len(condition.codes), 1), generator=generator) < FORGOTTEN
        return Condition(*(part.masked_fill(lost, 0) for part in condition)), lost

    def settle(self, seen: list[Tensor]) -> None:
        """Let codes that no training row had stand for "not known".

        `seen` says of each category column, in the order of codes, which codes training had.
        """
        for place, column in enumerate(self.code_columns.tolist()):
            first = int(self.offsets[place])
            with torch.no_grad():
                own = self.table.weight[first : first + self.cardinalities[place]]
                own[~seen[column]] = own[NOT_KNOWN].clone()


def classes_of(schema: FeatureSchema, numbers: Floats, texts: Mapping[str, int]) -> Classes:
    """The classes of the first label, from its values [n] in the training rows, NaN where null.

    `texts` gives the number of each text where the label is text.

    Raises:
        ConfigError: if its values are no classes.
    """
    label, known = schema.labels[0], np.unique(numbers[np.isfinite(numbers)])
    text = "string" in label.type
    task = task_of(known, text=text)
    if label.kind not in ("number", "boolean", "category") or task not in _TELLING:
        raise ConfigError(
            f"label '{label.name}' must have classes to be a condition, found "
            f"{len(known):,} different values of type {label.type}; group them, or {_ROLE}"
        )
    if text:
        had = {float(number) for number in known}
        ordered = sorted(texts, key=texts.__getitem__)
        values = tuple(one if texts[one] in had else NULL_TEXT for one in ordered)
        return Classes(label.name, "text", values)
    if label.kind == "category":
        return Classes(label.name, "integer", tuple(int(value) for value in known))
    return Classes(label.name, "number", tuple(float(value) for value in known))


def conditioned(spec: EncoderSpec, layout: Layout) -> EncoderSpec:
    """`spec` with the condition that the table offers: columns with that role, else the label.

    A spec whose condition is the label is told that, whatever columns there are.

    Raises:
        ConfigError: if a conditional recipe finds neither.
    """
    if spec.condition == "none":
        return spec
    if spec.condition == "columns" and any((*layout.given_numeric, *layout.given_codes)):
        return spec
    if layout.label_numbers:
        return spec.model_copy(update={"condition": "label"})
    raise ConfigError(NEEDED)
