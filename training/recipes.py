"""The members of the family, each a row of choices along the axes of `EncoderSpec`."""

from __future__ import annotations

from pipeline.errors import ConfigError
from training.spec import EncoderSpec, NetworkConfig

AUTO = "auto"

IDLE: dict[str, tuple[str, object]] = {
    "hidden": ("trunk", "none"),
    "decoder_hidden": ("decoder", "linear"),
    "corruption_rate": ("corruption", "none"),
    "temperature": ("contrast", 0),
    "penalty_weight": ("penalty", "none"),
    "layer_corruption": ("pretraining", "none"),
    "kl_weight": ("latent", "point"),
    "free_bits": ("latent", "point"),
    "warm_up": ("latent", "point"),
}
"""Choices that mean nothing while another choice has a value: the choice, the other, the value."""


def check_recipe(recipe: str, network: NetworkConfig) -> None:
    """Refuse a recipe that does not exist and choices that it cannot take.

    Raises:
        ConfigError: saying which.
    """
    if recipe != AUTO:
        concrete(recipe, dim=1, network=network)
    elif network.model_fields_set:
        raise ConfigError(
            f"choices of the network need a recipe that they change, found recipe {AUTO!r} with "
            f"{_named(network)}; name the recipe, or remove them"
        )


def concrete(recipe: str, *, dim: int, network: NetworkConfig | None = None) -> EncoderSpec:
    """The row `recipe` for embeddings of width `dim`, with the choices that `network` says.

    Raises:
        ConfigError: if there is no such recipe, or a choice means nothing to it.
    """
    if recipe not in RECIPES:
        raise ConfigError(
            f"recipe {recipe!r} is unknown; choose one of {', '.join([AUTO, *RECIPES])}"
        )
    row, network = RECIPES[recipe], network or NetworkConfig()
    spec = row.model_copy(update={"dim": dim, **network.model_dump()})
    if network.model_fields_set and not row.trained:
        raise ConfigError(
            f"recipe {recipe!r} has no network to choose, found {_named(network)}; "
            "name another recipe, or remove them"
        )
    for name in sorted(network.model_fields_set & IDLE.keys()):
        other, value = IDLE[name]
        if getattr(network, name) and getattr(spec, other) == value:
            raise ConfigError(
                f"recipe {recipe!r} has {other} = {value!r}, with which {name} means nothing; "
                f"choose another {other}, or remove {name}"
            )
    if spec.trunk == spec.start == "none":
        raise ConfigError(
            f"recipe {recipe!r} needs a way from columns to code, found trunk = 'none' and "
            "start = 'none'; choose another trunk or start"
        )
    return spec


def _named(network: NetworkConfig) -> str:
    return ", ".join(sorted(network.model_fields_set))


RECIPES: dict[str, EncoderSpec] = {
    "linear": EncoderSpec(recipe="linear", dim=1, trained=False),
    "plain": EncoderSpec(
        recipe="plain",
        dim=1,
        trunk="dense",
        hidden=(256,),
        category_width=8,
        start="none",
        decoder="mlp",
        decoder_hidden=(256,),
        unknown_rate=0.01,
    ),
    "denoising": EncoderSpec(
        recipe="denoising",
        dim=1,
        view="both",
        trunk="dense",
        hidden=(256,),
        category_width=8,
        start="principal",
        decoder="mlp",
        decoder_hidden=(256,),
        corruption="swap",
        corruption_rate=0.15,
        unknown_rate=0.02,
    ),
    "joint": EncoderSpec(
        recipe="joint",
        dim=1,
        view="both",
        trunk="dense",
        hidden=(256,),
        category_width=8,
        start="principal",
        decoder="linear",
        corruption="swap",
        corruption_rate=0.15,
        unknown_rate=0.02,
        contrast=0.3,
        temperature=0.1,
    ),
    "sparse": EncoderSpec(
        recipe="sparse",
        dim=1,
        view="both",
        trunk="dense",
        hidden=(512,),
        category_width=8,
        start="none",
        decoder="mlp",
        decoder_hidden=(256,),
        unknown_rate=0.01,
        penalty="kl",
        penalty_weight=0.1,
    ),
}

CANDIDATES = ("linear", "denoising", "joint")
"""What ``auto`` trains and compares; the first is kept unless another is clearly better."""
