"""Which choices go together: those that mean nothing, and those that cannot be built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set

from pipeline.errors import ConfigError
from training.spec import EncoderSpec


def check(spec: EncoderSpec, *, said: Set[str]) -> None:
    """Refuse a spec that cannot be built, or of which a choice in `said` would have no effect.

    Raises:
        ConfigError: naming the choice, the one that it depends on, and what to do.
    """
    if said and not spec.trained:
        raise ConfigError(
            f"recipe {spec.recipe!r} has no network to choose, found {', '.join(sorted(said))}; "
            "name another recipe, or remove them"
        )
    for name in sorted(said & IDLE.keys()):
        idle = all(getattr(spec, other) in values for other, values in IDLE[name].items())
        if getattr(spec, name) and idle:
            raise ConfigError(
                f"recipe {spec.recipe!r} has {_told(spec, IDLE[name], ' and ')}, with which {name} "
                f"means nothing; choose another {' or '.join(IDLE[name])}, or remove {name}"
            )
    for what, holds, names in NEEDS:
        if not holds(spec):
            found = _told(spec, names, ", ")
            raise ConfigError(f"recipe {spec.recipe!r}: {what}, found {found}; change one of them")


def _told(spec: EncoderSpec, names: Iterable[str], between: str) -> str:
    return between.join(f"{name} = {getattr(spec, name)!r}" for name in names)


def _can_pretrain(spec: EncoderSpec) -> bool:
    return spec.pretraining == "none" or (
        (spec.trunk, spec.start, spec.decoder) == ("dense", "none", "mlp")
        and spec.hidden == spec.decoder_hidden[::-1] != ()
        and (spec.latent, spec.condition, spec.screened) == ("point", "none", False)
    )


IDLE: dict[str, dict[str, tuple[object, ...]]] = {
    "hidden": {"trunk": ("none",)},
    "channels": {"trunk": ("none", "dense", "ensemble"), "decoder": ("linear", "mlp")},
    "members": {"trunk": ("none", "dense", "conv")},
    "dropout": {"trunk": ("none", "dense", "conv")},
    "screened": {"trunk": ("none",)},
    "decoder_hidden": {"decoder": ("linear",)},
    "correction": {"trunk": ("none",)},
    "corruption_rate": {"corruption": ("none",)},
    "temperature": {"contrast": (0,)},
    "positives": {"contrast": (0,)},
    "penalty_weight": {"penalty": ("none",)},
    "target_activation": {"penalty": ("none", "l1")},
    "layer_corruption": {"pretraining": ("none",)},
    "kl_weight": {"latent": ("point",)},
    "free_bits": {"latent": ("point",)},
    "warm_up": {"latent": ("point",)},
    "target_weight": {"target": ("none", "fine_tuned")},
    "knots": {"view": ("standardised",)},
}
"""Choices that mean nothing while others have certain values: the choice, the others, the values.
"""

NEEDS: tuple[tuple[str, Callable[[EncoderSpec], bool], tuple[str, ...]], ...] = (
    (
        "a trunk or a start is required",
        lambda spec: (spec.trunk, spec.start) != ("none", "none"),
        ("trunk", "start"),
    ),
    (
        "a penalty requires a dense trunk with a hidden layer",
        lambda spec: spec.penalty == "none" or (spec.trunk == "dense" and spec.hidden != ()),
        ("penalty", "trunk", "hidden"),
    ),
    (
        "a penalty requires a code that is one point",
        lambda spec: spec.penalty == "none" or spec.latent == "point",
        ("penalty", "latent"),
    ),
    (
        "a correction below 1 requires a dense or conv trunk, start = 'principal' and a point code",
        lambda spec: (
            spec.correction == 1
            or (
                spec.trunk in ("dense", "conv")
                and (spec.start, spec.latent) == ("principal", "point")
            )
        ),
        ("correction", "trunk", "start", "latent"),
    ),
    (
        "an ensemble or screened columns require a code that is one point, and no penalty",
        lambda spec: (
            (spec.trunk != "ensemble" and not spec.screened)
            or (spec.latent, spec.penalty) == ("point", "none")
        ),
        ("trunk", "screened", "latent", "penalty"),
    ),
    (
        "an activation other than relu requires dense layers, no penalty and no greedy pretraining",
        lambda spec: (
            spec.activation == "relu"
            or (
                spec.trunk == "dense"
                and spec.decoder in ("linear", "mlp")
                and (spec.penalty, spec.pretraining) == ("none", "none")
            )
        ),
        ("activation", "trunk", "decoder", "penalty", "pretraining"),
    ),
    (
        "greedy pretraining requires dense layers only, and their widths in reverse as decoder",
        _can_pretrain,
        (
            "start",
            "latent",
            "condition",
            "screened",
            "trunk",
            "hidden",
            "decoder",
            "decoder_hidden",
        ),
    ),
)
"""What is required, whether a spec has it, and the choices to tell of when not."""
