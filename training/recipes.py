"""The members of the family, each a row of choices along the axes of `EncoderSpec`."""

from __future__ import annotations

from pipeline.errors import ConfigError
from training.combinations import check
from training.spec import EncoderSpec, Head, NetworkConfig, TrainingJob

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


def aware(spec: EncoderSpec, heads: tuple[Head, ...]) -> EncoderSpec:
    """The row `spec` learning from labels, with the reconstruction unless it says otherwise."""
    if not (spec.trained and heads):
        return spec
    target = "joint" if spec.target == "none" else spec.target
    # A label says what the network is to add, all of which is then wanted.
    return spec.model_copy(update={"heads": heads, "target": target, "correction": 1.0})


def check_labels(job: TrainingJob) -> None:
    """Refuse a job whose recipe learns from labels that it is not given, or the reverse.

    Raises:
        ConfigError: saying what to add or leave out.
    """
    if job.use_label and not job.label:
        raise ConfigError("--use-label needs the labels to learn from, found none; add --label COL")
    if job.recipe == AUTO:
        return
    spec = concrete(job.recipe, dim=1, network=job.network)
    if job.use_label and not spec.trained:
        raise ConfigError(
            f"recipe {job.recipe!r} is closed form and learns from no label; name another recipe, "
            "or leave out --use-label"
        )
    if not job.use_label and (spec.target != "none" or spec.screened):
        asked = "screened = True" if spec.target == "none" else f"target = {spec.target!r}"
        raise ConfigError(
            f"recipe {job.recipe!r} has {asked} and learns from labels; add --use-label with "
            "--label COL, or choose another recipe"
        )


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
        correction=0.5,
        category_width=8,
        start="principal",
        decoder="linear",
        corruption="swap",
        corruption_rate=0.15,
        unknown_rate=0.02,
        contrast=0.3,
        temperature=0.1,
    ),
    "neighbours": EncoderSpec(
        recipe="neighbours",
        dim=1,
        view="both",
        trunk="dense",
        hidden=(256,),
        category_width=8,
        start="principal",
        decoder="linear",
        corruption="swap",
        corruption_rate=0.2,
        unknown_rate=0.02,
        contrast=1.0,
        temperature=0.3,
        positives="neighbours",
    ),
    "supervised": EncoderSpec(
        recipe="supervised",
        dim=1,
        view="both",
        knots=16,
        trunk="ensemble",
        members=4,
        hidden=(128, 128),
        dropout=0.1,
        category_width=8,
        start="none",
        decoder="linear",
        corruption="swap",
        corruption_rate=0.1,
        unknown_rate=0.02,
        target="joint",
        target_weight=2.0,
        screened=True,
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
        penalty_weight=0.3,
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
    "conv": EncoderSpec(
        recipe="conv",
        dim=1,
        view="both",
        trunk="conv",
        hidden=(256,),
        category_width=8,
        start="principal",
        decoder="conv",
        decoder_hidden=(256,),
        corruption="blocks",
        corruption_rate=0.1,
        unknown_rate=0.02,
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
