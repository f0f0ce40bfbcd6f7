"""The members of the family, each a row of choices along the axes of `EncoderSpec`."""

from __future__ import annotations

from pipeline.errors import ConfigError
from training.spec import EncoderSpec

AUTO = "auto"


def concrete(recipe: str, *, dim: int) -> EncoderSpec:
    """The row `recipe` for embeddings of width `dim`.

    Raises:
        ConfigError: if there is no such recipe.
    """
    if recipe not in RECIPES:
        raise ConfigError(
            f"recipe {recipe!r} is unknown; choose one of {', '.join([AUTO, *RECIPES])}"
        )
    return RECIPES[recipe].model_copy(update={"dim": dim})


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
}

CANDIDATES = ("linear", "denoising", "joint")
"""What ``auto`` trains and compares; the first is kept unless another is clearly better."""
