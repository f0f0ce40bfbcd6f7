"""The members of the family, each a row of choices along the axes of `EncoderSpec`."""

from __future__ import annotations

from pipeline.errors import ConfigError
from training.combinations import check
from training.spec import EncoderSpec, NetworkConfig

AUTO = "auto"


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
            f"{', '.join(sorted(network.model_fields_set))}; name the recipe, or remove them"
        )


def concrete(recipe: str, *, dim: int, network: NetworkConfig | None = None) -> EncoderSpec:
    """The row `recipe` for embeddings of width `dim`, with the choices that `network` says.

    Raises:
        ConfigError: if there is no such recipe, or it cannot take a choice.
    """
    if recipe not in RECIPES:
        raise ConfigError(
            f"recipe {recipe!r} is unknown; choose one of {', '.join([AUTO, *RECIPES])}"
        )
    row, network = RECIPES[recipe], network or NetworkConfig()
    spec = row.model_copy(update={"dim": dim, **network.model_dump()})
    check(spec, said=network.model_fields_set)
    return spec


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
    "stacked": EncoderSpec(
        recipe="stacked",
        dim=1,
        view="both",
        trunk="dense",
        hidden=(256, 128),
        category_width=8,
        start="none",
        decoder="mlp",
        decoder_hidden=(128, 256),
        corruption="swap",
        corruption_rate=0.15,
        unknown_rate=0.02,
        pretraining="greedy",
        layer_corruption=(0.15,),
    ),
    "vae": EncoderSpec(
        recipe="vae",
        dim=1,
        view="both",
        trunk="dense",
        hidden=(256,),
        category_width=8,
        latent="gaussian",
        free_bits=0.1,
        warm_up=0.25,
        start="none",
        decoder="mlp",
        decoder_hidden=(256,),
        unknown_rate=0.01,
    ),
    "cvae": EncoderSpec(
        recipe="cvae",
        dim=1,
        view="both",
        trunk="dense",
        hidden=(256,),
        category_width=8,
        latent="gaussian",
        free_bits=0.1,
        warm_up=0.25,
        condition="columns",
        start="none",
        decoder="mlp",
        decoder_hidden=(256,),
        unknown_rate=0.01,
    ),
}

CANDIDATES = ("linear", "denoising", "joint")
"""What ``auto`` trains and compares; the first is kept unless another is clearly better."""
