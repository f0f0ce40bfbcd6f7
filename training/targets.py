"""Heads that read labels off the code while training, and what each loses; none is exported.

Missing labels count nowhere: a row whose label is null takes part by its reconstruction alone.
Every loss is divided by what the best constant would lose, so that labels of different kinds weigh
the same, beside each other and beside the reconstruction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import DataError
from training.labels import task_of
from training.layers import fresh
from training.rows import MOST_CLASSES
from training.scoring import Task
from training.spec import Head

CLIP = 5.0
"""Deviations beyond which the value of a label is no further away: strays must not decide."""

LEAST_SCALE = 0.05

Floats = npt.NDArray[np.float64]


def heads_of(
    labels: Floats, names: Sequence[str], *, texts: Sequence[bool] = ()
) -> tuple[Head, ...]:
    """What there is to predict in the labels [N, L] of the training rows, NaN where null.

    `texts` says of each label whether its values are codes of strings.

    Raises:
        DataError: if a label has nothing to tell apart, or so much that it looks like a key.
    """
    texts = texts or (False,) * len(names)
    return tuple(
        _head(labels[:, place], name, text=text)
        for place, (name, text) in enumerate(zip(names, texts, strict=True))
    )


def _head(values: Floats, name: str, *, text: bool) -> Head:
    known = values[np.isfinite(values)]
    task = task_of(known, text=text)
    if task is None:
        found = len(np.unique(known))
        raise DataError(
            f"label '{name}' must have 2 to {MOST_CLASSES:,} values in the training rows to be "
            f"learnt from, found {found:,}; leave out --use-label, or name another label"
        )
    if task == "numbers":
        return Head(
            name=name, task=task, centre=float(known.mean()), deviation=float(known.std()),
            labelled=len(known),
        )  # fmt: skip
    classes, counts = np.unique(known, return_counts=True)
    shares = counts / counts.sum()
    return Head(
        name=name, task=task, classes=tuple(map(float, classes)), labelled=len(known),
        entropy=float(-(shares * np.log(shares)).sum()),
    )  # fmt: skip


def learnt_from(heads: tuple[Head, ...]) -> dict[str, dict[str, int]]:
    """What a manifest records of the labels that an encoder learnt from: rows that had them."""
    return {"labels": {head.name: head.labelled for head in heads}} if heads else {}


class Targets(nn.Module):
    """A linear head for each label, read off the code.

    Linear, so that what the heads see is what a linear model on the embedding sees.

    Shape:
        codes [K, N, d] (K networks whose codes are averaged), labels [N, L] float64, NaN if null.
    """

    def __init__(self, heads: tuple[Head, ...], dim: int, generator: torch.Generator):
        super().__init__()
        self.heads = heads
        self.layers = nn.ModuleList(
            fresh(nn.Linear(dim, TASKS[head.task].outputs(head)), generator) for head in heads
        )

    def loss(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Mean over the heads of the mean over labelled rows, a scalar; 0 without a label."""
        return self.losses(codes, labels).mean()

    def losses(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Loss of each head, [L]: about 1 when nothing is known, 0 when no row has the label."""
        return torch.stack(
            [self._one(place, codes, labels[:, place]) for place in range(len(self.heads))]
        )

    def _one(self, place: int, codes: Tensor, label: Tensor) -> Tensor:
        head, layer = self.heads[place], self.layers[place]
        goal, known = coded(head, label)
        outputs: Tensor = layer(codes[:, known])
        if not len(goal):
            return outputs.sum() * 0.0
        each = TASKS[head.task].loss(outputs.flatten(0, 1), goal.repeat(len(codes)))
        return each.mean() / scale(head)


def coded(head: Head, label: Tensor) -> tuple[Tensor, Tensor]:
    """The label [N] of the rows that have one, as the head's loss takes it, and which they are.

    Classes that the training rows do not have count as missing.
    """
    known = torch.isfinite(label)
    if head.task == "numbers":
        values = (label[known] - head.centre) / max(head.deviation, 1e-12)
        return values.clamp(-CLIP, CLIP).float(), known
    classes = torch.tensor(head.classes, dtype=label.dtype)
    place = torch.searchsorted(classes, torch.nan_to_num(label)).clamp_max(len(classes) - 1)
    known &= classes[place] == label
    return place[known], known


def scale(head: Head) -> float:
    """What the best constant loses: the variance 1, or the entropy of the classes in nats."""
    return 1.0 if head.task == "numbers" else max(head.entropy, LEAST_SCALE)


@dataclass(frozen=True)
class Reading:
    """How a kind of label is read: outputs of its head, and the loss of each row."""

    outputs: Callable[[Head], int]
    loss: Callable[[Tensor, Tensor], Tensor]


def _logistic(outputs: Tensor, goal: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs[:, 0], goal.float(), reduction="none")


def _categorical(outputs: Tensor, goal: Tensor) -> Tensor:
    return F.cross_entropy(outputs, goal, reduction="none")


def _squared(outputs: Tensor, goal: Tensor) -> Tensor:
    return (outputs[:, 0] - goal).square()


TASKS: dict[Task, Reading] = {
    "two classes": Reading(lambda head: 1, _logistic),
    "classes": Reading(lambda head: len(head.classes), _categorical),
    "numbers": Reading(lambda head: 1, _squared),
}
