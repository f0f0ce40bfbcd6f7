"""The stages that a network is trained in, one after the other, as its spec asks for them.

Layer by layer, then the whole network, then for the labels alone; at last, when there were labels
or the code was changed since, the decoder alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pipeline.progress import Progress
from training.autoencoder import Autoencoder
from training.fine_tuning import Decoding, FineTuning
from training.loop import Curve, Learner, train
from training.matrix import Matrix
from training.pretraining import PRETRAININGS, split_steps
from training.screening import unit_gates
from training.spec import EncoderSpec, Target, TrainingConfig

TUNING_SHARE = 0.5
"""Of the steps of a run that is fine-tuned afterwards."""

DECODER_SHARE, DECODER_SPEED = 0.25, 5.0
"""Steps and learning rate of a decoder that learns alone, of those of the whole network."""

LOOKS = 4
"""Looks of a run that learns from labels to one of any other."""


@dataclass(frozen=True)
class Stage:
    """What a stage is trained on, within which budget, and where it is kept and shown."""

    matrix: Matrix
    config: TrainingConfig
    seed: int
    state_path: Path | None = None
    progress: Progress | None = None

    def with_steps(self, steps: int) -> Stage:
        """The stage with as many steps."""
        return self._having(steps=steps)

    def with_share(self, share: float) -> Stage:
        """The stage with a share of its steps."""
        return self.with_steps(max(1, round(self.config.steps * share)))

    def with_looks(self) -> Stage:
        """The stage with looks at the validation rows as often as learning from labels needs them.

        What reads labels off a few thousand rows knows them by heart after a few epochs.
        """
        every = max(1, self.config.evaluate_every // LOOKS)
        return self._having(evaluate_every=every, patience=self.config.patience * LOOKS)

    def faster(self, times: float) -> Stage:
        """The stage with a higher learning rate."""
        return self._having(learning_rate=times * self.config.learning_rate)

    def beside(self, name: str) -> Stage:
        """The stage with a checkpoint of its own."""
        path = self.state_path and self.state_path.with_suffix(f".{name}.safetensors")
        return replace(self, state_path=path)

    def run(
        self, learner: Learner, spec: EncoderSpec, *, name: str, labelled: bool = False
    ) -> Curve:
        """Train `learner` in place, or go on from its checkpoint; see `training.loop.train`."""
        return train(
            learner,
            self.matrix,
            name=name,
            schedule=spec.schedule,
            config=self.config,
            seed=self.seed,
            labelled=labelled,
            state_path=self.state_path,
            progress=self.progress,
        )

    def _having(self, **changes: Any) -> Stage:
        return replace(self, config=self.config.model_copy(update=changes))


def train_in_stages(model: Autoencoder, stage: Stage) -> dict[str, Any]:
    """Train `model` in place; its history as plain data, with the seconds of all stages.

    The curves of other stages stand below "pretraining" (one a layer), "fine_tuning" and
    "decoder". `stage` has the budget of the whole training.
    """
    spec, target = model.spec, _target(model.spec)
    layers = _pretrain(model, stage)
    if layers:
        stage = stage.with_steps(split_steps(stage.config.steps, len(layers))[1])
    if spec.screened and spec.heads:
        gates = unit_gates(stage.matrix, model.layout, spec.heads, seed=stage.seed)
        model.shut(torch.from_numpy(gates).float())
    curve = _train_whole(model, stage)
    history = curve.to_json() | {"pretraining": layers}
    seconds = [curve.seconds, *(layer["seconds"] for layer in layers)]
    if target == "fine_tuned":
        tuned = _tune(model, stage)
        history["fine_tuning"] = tuned.to_json()
        seconds.append(tuned.seconds)
    if spec.correction < 1:
        model.weaken()
    if target != "none" or spec.correction < 1:
        decoder = _train_decoder(model, stage)
        history["decoder"] = decoder.to_json()
        seconds.append(decoder.seconds)
    return history | {"seconds": sum(seconds)}


def _target(spec: EncoderSpec) -> Target:
    """How labels are learnt from; where there are none, not at all."""
    return spec.target if spec.heads else "none"


def _pretrain(model: Autoencoder, stage: Stage) -> list[dict[str, Any]]:
    """The curves of pretraining, one a layer."""
    pretrain = PRETRAININGS[model.spec.pretraining]
    if pretrain is None:
        return []
    return pretrain(
        model,
        stage.matrix,
        config=stage.config,
        seed=stage.seed,
        state_path=stage.state_path,
        progress=stage.progress,
    )


def _train_whole(model: Autoencoder, stage: Stage) -> Curve:
    """All of the network by its own loss; with its heads, where those learn with the rest."""
    target = _target(model.spec)
    if target == "fine_tuned":
        stage = stage.with_share(TUNING_SHARE)
    elif target == "joint":
        stage = stage.with_looks()
    name = f"train {model.spec.recipe}"
    return stage.run(model, model.spec, name=name, labelled=target == "joint")


def _tune(model: Autoencoder, stage: Stage) -> Curve:
    """The encoder by its heads alone, in what `_train_whole` left of the steps."""
    stage = stage.with_share(1 - TUNING_SHARE).with_looks().beside("tuned")
    name = f"fine-tune {model.spec.recipe}"
    return stage.run(FineTuning(model), model.spec, name=name, labelled=True)


def _train_decoder(model: Autoencoder, stage: Stage) -> Curve:
    """The decoder alone, for the code that was kept."""
    stage = stage.with_share(DECODER_SHARE).faster(DECODER_SPEED).beside("decoder")
    return stage.run(Decoding(model), model.spec, name=f"decoder of {model.spec.recipe}")
