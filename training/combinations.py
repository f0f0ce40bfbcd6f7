"""Which choices go together: those that mean nothing, and those that cannot be built."""

from __future__ import annotations

from collections.abc import Callable, Set

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
        other, value = IDLE[name]
        if getattr(spec, name) and getattr(spec, other) == value:
            raise ConfigError(
                f"recipe {spec.recipe!r} has {other} = {value!r}, with which {name} means nothing; "
                f"choose another {other}, or remove {name}"
            )
    for what, holds, names in NEEDS:
        if not holds(spec):
            found = ", ".join(f"{name} = {getattr(spec, name)!r}" for name in names)
            raise ConfigError(f"recipe {spec.recipe!r}: {what}, found {found}; change one of them")


def _can_pretrain(spec: EncoderSpec) -> bool:
    return spec.pretraining == "none" or (
        (spec.trunk, spec.start, spec.decoder) == ("dense", "none", "mlp")
        and spec.hidden == spec.decoder_hidden[::-1] != ()
        and (spec.latent, spec.condition, spec.screened) == ("point", "none", False)
    )


IDLE: dict[str, tuple[str, object]] = {
    "hidden": ("trunk", "none"),
    "decoder_hidden": ("decoder", "linear"),
    "corruption_rate": ("corruption", "none"),
    "temperature": ("contrast", 0),
    "positives": ("contrast", 0),
    "penalty_weight": ("penalty", "none"),
    "layer_corruption": ("pretraining", "none"),
    "kl_weight": ("latent", "point"),
    "free_bits": ("latent", "point"),
    "warm_up": ("latent", "point"),
    "dropout": ("trunk", "dense"),
    "target_weight": ("target", "none"),
    "knots": ("view", "standardised"),
}
"""Choices that mean nothing while another choice has a value: the choice, the other, the value."""

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
