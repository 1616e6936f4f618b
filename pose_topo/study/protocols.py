"""The protocols, and what departs from them. docs/protocols.md sets them side by side."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

from pose_topo.study.arms import Arm
from pose_topo.study.config import Recipe, RunConfig

STANDARD = Recipe(  # Xiao et al. 2018 and its public code
    protocol="standard",
    framing="person",
    input_size=256,
    sigma=2.0,
    target_centre="nearest",
    augment="standard",
    loss="half-mse",
    mask_unlabelled=True,
    init="standard",
    optimizer="adam",
    lr=1e-3,
    weight_decay=0.0,
    schedule="steps",
    epochs=140,
    batch_size=32,
    patience=None,
    report="last",
    lambda_schedule="constant",
    topo_lr_mult=1.0,
    flip_test=True,
    decode="quarter",
    split="auto",
    val_split=0.1,
    deviations=(
        "standard protocol: the field's recipe (crops of people, augmentation, Tompson's split, Adam for 140 epochs, "
        "flip test, quarter offset), not the study's",
    ),
)

PAPER = Recipe(  # the original study's own recipe
    protocol="paper",
    framing="squeeze",
    input_size=256,
    sigma=2.0,
    target_centre="truncated",
    augment="none",
    loss="mse",
    mask_unlabelled=False,
    init="paper",
    optimizer="adamw",
    lr=1e-4,
    weight_decay=1e-2,
    schedule="constant",
    epochs=20,
    batch_size=64,
    patience=7,
    report="best",
    select="loss",
    lambda_schedule="study-cosine",
    topo_lr_mult=1.0,
    flip_test=False,
    decode="cell-centre",
    split="paper",
    val_split=0.1,
    single_person=True,
    min_labelled=12,
)

SYNTHETIC = replace(  # the standard recipe where there is no MPII: rendered people, random weights, fewer epochs
    STANDARD,
    protocol="synthetic",
    epochs=12,
    start="none",
    split="random",
    deviations=("synthetic protocol: 12 epochs from random weights, random split",),
)

SMALL = replace(  # a quarter of an hour on two CPU cores, from random weights
    STANDARD,
    protocol="small",
    input_size=128,
    sigma=1.5,
    target_centre="exact",
    augment="mild",
    loss="mse",
    init="paper",
    optimizer="adamw",
    lr=1e-3,
    weight_decay=1e-2,
    schedule="one-cycle",
    epochs=6,
    batch_size=16,
    topo_lr_mult=10.0,
    decode="dark",
    split="random",
    val_split=0.15,
    start="none",
    antialias=True,  # the box is warped to 128 px: bilinear alone would alias
    deviations=(
        "small protocol: 128 px, mild augmentation, one-cycle AdamW, constant lambda, sub-pixel targets and decoding",
    ),
)

DEMO = replace(  # minutes on two CPU cores: few people, from the released network
    SMALL,
    protocol="demo",
    start="released",
    # the new layers learn faster than the ones that are trained already; small batches give them more steps
    lr=5e-4,
    topo_lr_mult=30.0,
    head_lr_mult=30.0,
    epochs=2,
    batch_size=4,
    val_split=0.3,
    deviations=(
        "demo protocol: started from the released network, 2 epochs; 128 px, mild augmentation, one-cycle AdamW, "
        "constant lambda, sub-pixel targets and decoding",
    ),
)

PHOTOGRAPHS = replace(  # LSPET's ten thousand photographs on two CPU cores
    SMALL,
    protocol="photographs",
    start="network",
    epochs=4,
    split="hashed",
    val_split=0.1,
    deviations=(
        "photographs protocol: LSPET instead of MPII, started from a network of rendered people; 128 px, mild "
        "augmentation, one-cycle AdamW, constant lambda, sub-pixel targets and decoding",
    ),
)

PROTOCOLS: dict[str, Recipe] = {
    recipe.protocol: recipe for recipe in (STANDARD, PAPER, SYNTHETIC, PHOTOGRAPHS, SMALL, DEMO)
}


def deviations(config: RunConfig) -> list[str]:
    """What stands beside this run's numbers: where it departs from its protocol, and the protocol from the study."""
    recipe, base = config.recipe, PROTOCOLS[config.recipe.protocol]
    found = list(recipe.deviations)
    for f in dataclasses.fields(Recipe):
        own, usual = getattr(recipe, f.name), getattr(base, f.name)
        if own != usual and f.name not in ("deviations", "topo_lr_mult"):
            found.append(f"{f.name.replace('_', ' ')} {own} (the {recipe.protocol} protocol: {usual})")
    multipliers = {"head": recipe.head_lr_mult}
    if config.topography is not None:
        multipliers["topographic layer"] = recipe.topo_lr_mult
    for layer, factor in multipliers.items():
        if factor != 1:
            found.append(f"the {layer}'s learning rate is {factor:g} times that of the backbone (the study: 1)")
    return found


def as_protocol(config: RunConfig) -> bool:
    """Return whether a run's arm names everything that the run sets otherwise than its protocol.

    A run of which this is false (it was shortened, for example) neither supports nor contradicts a claim.
    """
    usual = PROTOCOLS[config.recipe.protocol]
    recipe = replace(config.recipe, topo_lr_mult=usual.topo_lr_mult)
    return recipe == usual and config.arm == str(Arm.of(config, usual))
