"""Heads: an ellipsoid with a face on its front, so that it turns as a head does, and the hair behind it."""

from __future__ import annotations

import numpy as np

from pose_topo.data.synthetic.appearance import Look, mix
from pose_topo.data.synthetic.raster import Canvas, F, Light, ellipsoid, tube

HEAD_SEMI = np.array([0.053, 0.076, 0.062])  # left, up, front, in standing heights
Place = tuple[float, float, float]


def _shifted(centre: Place, axes: np.ndarray, height: float, offset: tuple[float, float, float]) -> Place:
    """The place `offset` (left, up, front; in semi-axes of the head) away from the head's centre."""
    step = axes @ (np.array(offset) * HEAD_SEMI * height)
    return centre[0] + float(step[0]), centre[1] - float(step[1]), centre[2] + float(step[2])


def _hair_mask(left: np.ndarray, up: np.ndarray, front: np.ndarray, style: str) -> np.ndarray:
    """Where the scalp bears hair: above the forehead, behind the ears, down to the nape."""
    if style == "bald":
        return np.zeros(left.shape, bool)
    sides = F(0.25) if style in ("medium", "long", "round") else F(0.0)
    nape = F(-0.62) if style in ("short", "bun", "ponytail") else F(-0.9)
    return (up > F(0.52)) | ((front < sides) & (up > F(-0.3))) | ((front < F(-0.2)) & (up > nape))


def _face(colour: np.ndarray, left: np.ndarray, up: np.ndarray, front: np.ndarray, look: Look) -> np.ndarray:
    """Eyes, brows, mouth, beard and glasses over `colour` (n, 3), on the front of the unit sphere."""
    ahead = front > 0
    aside = np.abs(left) - F(0.36)
    if look.beard:
        colour = mix(colour, look.hair, ahead & (up < F(-0.28)))
    colour = mix(colour, look.hair * F(0.7), ahead & (np.abs(aside) < F(0.19)) & (np.abs(up - F(0.27)) < F(0.045)))
    eye = aside**2 * F(28) + (up - F(0.06)) ** 2 * F(90)
    colour = mix(colour, np.array([240, 238, 232], F), ahead & (eye < F(1)))
    colour = mix(colour, np.array([30, 24, 22], F), ahead & (aside**2 + (up - F(0.06)) ** 2 < F(0.0085)))
    if look.glasses:
        colour = mix(
            colour,
            np.array([24, 22, 26], F),
            ahead & (np.abs(up - F(0.06)) < F(0.13)) & (np.abs(aside) < F(0.24)),
        )
    mouth = ahead & (np.abs(left) < F(0.27)) & (np.abs(up + F(0.48)) < F(0.05))
    return mix(colour, look.skin * np.array([0.75, 0.42, 0.42], F), mouth)


def paint_head(
    canvas: Canvas, centre: Place, axes: np.ndarray, height: float, look: Look, light: Light, owner: int
) -> None:
    """The skull with face, short hair and hat, then nose and ears."""

    def texture(left: np.ndarray, up: np.ndarray, front: np.ndarray) -> np.ndarray:
        colour = _face(np.broadcast_to(look.skin, (*left.shape, 3)), left, up, front, look)
        colour = mix(colour, look.hair, _hair_mask(left, up, front, look.hair_style))
        if look.hat is not None:
            colour = mix(colour, look.hat, up > F(0.36))
            colour = mix(colour, look.hat * F(0.6), np.abs(up - F(0.4)) < F(0.05))
        return colour

    ellipsoid(canvas, centre, axes, HEAD_SEMI * height, texture, light, owner)
    bridge, tip = (
        _shifted(centre, axes, height, (0, 0.05, 0.93)),
        _shifted(centre, axes, height, (0, -0.2, 1.08)),
    )
    thin = (0.006 * height, 0.011 * height)
    tube(canvas, bridge, tip, thin, lambda *_: look.skin, light, owner)
    if look.hair_style not in ("long", "medium", "round"):
        for side in (-1.0, 1.0):
            ear = _shifted(centre, axes, height, (side * 1.0, -0.02, -0.1))
            ellipsoid(
                canvas,
                ear,
                axes,
                np.array([0.007, 0.019, 0.013]) * height,
                lambda *_: look.skin,
                light,
                owner,
            )
    if look.hat is not None and look.brim:
        start, end = (
            _shifted(centre, axes, height, (0, 0.42, 0.6)),
            _shifted(centre, axes, height, (0, 0.34, 1.55)),
        )
        brim, hat = (0.03 * height, 0.024 * height), look.hat * F(0.75)
        tube(canvas, start, end, brim, lambda *_: hat, light, owner, thickness=0.3)


# offset of the hair's middle (left, up, front; in semi-axes of the head) and its size over the head's
_MASSES = {
    "medium": (((0.0, -0.15, -0.32), (1.14, 0.98, 0.86)),),
    "long": (((0.0, -0.1, -0.3), (1.14, 1.0, 0.84)), ((0.0, -0.9, -0.62), (1.02, 0.95, 0.5))),
    "ponytail": (((0.0, 0.3, -1.15), (0.3, 0.3, 0.3)), ((0.0, -0.45, -1.3), (0.3, 0.75, 0.26))),
    "bun": (((0.0, 0.62, -0.85), (0.5, 0.4, 0.45)),),
    "round": (((0.0, 0.22, -0.42), (1.38, 1.05, 1.18)),),
}


def paint_hair(
    canvas: Canvas, centre: Place, axes: np.ndarray, height: float, look: Look, light: Light, owner: int
) -> None:
    """The hair that stands off the skull. It lies behind the face, and the depth buffer keeps it there."""
    for offset, size in _MASSES.get(look.hair_style, ()):
        place = _shifted(centre, axes, height, offset)
        semi = HEAD_SEMI * np.array(size) * height
        ellipsoid(canvas, place, axes, semi, lambda *_: look.hair, light, owner)
