"""What people look like: skin, hair, hats and clothes. Colours are RGB, 0 to 255, as float32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from pose_topo.rendering.raster import F

SKINS = ((244, 208, 184), (230, 184, 150), (206, 156, 118), (168, 118, 84), (124, 84, 60), (88, 60, 46))
HAIRS = (
    (28, 24, 22), (58, 40, 28), (96, 64, 38), (146, 104, 60), (206, 176, 116), (150, 148, 146), (126, 58, 30)
)  # fmt: skip
HAIR_STYLES = {"bald": 0.06, "short": 0.37, "medium": 0.15, "long": 0.2, "ponytail": 0.09, "bun": 0.06, "round": 0.07}
PATTERNS = ("plain", "stripes", "pinstripes", "checks", "dots", "two-tone")


@dataclass(frozen=True)
class Cloth:
    """A fabric: two colours (3,) and a pattern that repeats every `period` standing heights."""

    first: np.ndarray
    second: np.ndarray
    pattern: str
    period: float

    def colour(self, t: np.ndarray, along: np.ndarray, across: np.ndarray, height: float) -> np.ndarray:
        """Colours (n, 3), or just (3,), of places on a limb: `along`, `across` in pixels, `t` the share."""
        if self.pattern == "plain":
            return self.first
        return mix(self.first, self.second, self._mask(t, along, across, F(1 / (self.period * height))))

    def _mask(self, t: np.ndarray, along: np.ndarray, across: np.ndarray, frequency: np.float32) -> np.ndarray:
        if self.pattern == "two-tone":
            return t < F(0.5)
        u, v = along * frequency, across * frequency
        u, v = u - np.floor(u), v - np.floor(v)
        if self.pattern == "stripes":
            return u < F(0.5)
        if self.pattern == "pinstripes":
            return v < F(0.3)
        if self.pattern == "checks":
            return (u < F(0.5)) ^ (v < F(0.5))
        return (u - F(0.5)) ** 2 + (v - F(0.5)) ** 2 < F(0.06)


@dataclass(frozen=True)
class Look:
    """One person's looks. `sleeves` and `legs` are lengths in segments: 1 to the elbow or knee, 2 all."""

    build: float  # girth of trunk and limbs over the usual
    skin: np.ndarray
    hair: np.ndarray
    hair_style: str
    beard: bool
    glasses: bool
    hat: np.ndarray | None
    brim: bool
    shirt: Cloth
    sleeves: float
    front: str  # plain, buttons, logo, open jacket
    collar: float  # how far down the neckline is cut, 0 to 1
    backpack: np.ndarray | None
    tucked: bool
    trousers: Cloth
    legs: float
    skirt: float | None  # length in thighs
    shoes: np.ndarray
    socks: np.ndarray | None


def mix(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`second` where the mask (n,) holds, `first` elsewhere; colours (3,) or (n, 3)."""
    return np.where(mask[..., None], second, first)


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """RGB (3,) from hue, saturation and value in [0, 1]."""
    channel = [(5 + hue * 6) % 6, (3 + hue * 6) % 6, (1 + hue * 6) % 6]
    return np.array([255 * value * (1 - saturation * max(0.0, min(k, 4 - k, 1.0))) for k in channel], F)


def random_colour(rng: Generator) -> np.ndarray:
    """A cloth colour: any hue, from grey to vivid, rarely black."""
    return hsv(rng.random(), float(rng.beta(1.1, 1.6)), rng.uniform(0.14, 0.97))


def _against(rng: Generator, backdrop: np.ndarray) -> np.ndarray:
    """A colour that usually stands out from the backdrop (3,): up to three are tried."""
    colour = random_colour(rng)
    for _ in range(2):
        if float(np.abs(colour - backdrop).sum()) > 130:
            break
        colour = random_colour(rng)
    return colour


def _cloth(rng: Generator, backdrop: np.ndarray, plain: float) -> Cloth:
    first = _against(rng, backdrop)
    second = random_colour(rng) if rng.random() < 0.6 else F(0.55) * first + F(rng.choice([0, 110]))
    pattern = "plain" if rng.random() < plain else str(rng.choice(PATTERNS[1:]))
    return Cloth(first, second.astype(F), pattern, float(rng.uniform(0.025, 0.06)))


def sample_look(rng: Generator, backdrop: np.ndarray) -> Look:
    """A random person, dressed to be seen before a backdrop of the mean colour (3,)."""
    skin = np.array(SKINS[int(rng.integers(len(SKINS)))], F) * F(rng.uniform(0.92, 1.05))
    hair = np.array(HAIRS[int(rng.integers(len(HAIRS)))], F) * F(rng.uniform(0.8, 1.15))
    style = str(rng.choice(list(HAIR_STYLES), p=list(HAIR_STYLES.values())))
    hat = random_colour(rng) if rng.random() < 0.17 else None
    shirt, trousers = _cloth(rng, backdrop, 0.65), _cloth(rng, backdrop, 0.85)
    if rng.random() < 0.1:  # overalls, suits and dresses
        trousers = shirt
    skirt = float(rng.uniform(0.45, 1.5)) if rng.random() < 0.13 else None
    legs = float(rng.choice([0.35, 0.7, 1.0, 1.6, 2.0], p=[0.06, 0.13, 0.09, 0.05, 0.67]))
    sleeves = float(rng.choice([0.0, 0.45, 0.75, 1.3, 2.0], p=[0.12, 0.3, 0.13, 0.07, 0.38]))
    return Look(
        build=float(min(max(rng.normal(1.0, 0.1), 0.82), 1.3)),
        skin=skin,
        hair=hair,
        hair_style=style,
        beard=bool(rng.random() < 0.12) and style not in ("long", "ponytail", "bun"),
        glasses=bool(rng.random() < 0.1),
        hat=hat,
        brim=bool(rng.random() < 0.6),
        shirt=shirt,
        sleeves=sleeves,
        front=str(rng.choice(["plain", "buttons", "logo", "jacket"], p=[0.35, 0.25, 0.22, 0.18])),
        collar=float(rng.uniform(0.1, 1.0)),
        backpack=random_colour(rng) if rng.random() < 0.12 else None,
        tucked=bool(rng.random() < 0.35),
        trousers=trousers,
        legs=0.2 if skirt else legs,
        skirt=skirt,
        shoes=random_colour(rng) * F(rng.choice([0.5, 1.0])),
        socks=np.full(3, rng.uniform(60, 235), F) if rng.random() < 0.3 else None,
    )
