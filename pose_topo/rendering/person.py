"""Paint one person: head and hair, then all parts of the body from far to near.

The head is an ellipsoid with a face on its front, so that it turns as a head does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from pose_topo.rendering import poses as P
from pose_topo.rendering.appearance import Cloth, Look, mix
from pose_topo.rendering.poses import ARMS, HEAD_SEMI, LEGS, RIGHT, Figure
from pose_topo.rendering.raster import Canvas, F, Normal, Place, Texture, ellipsoid, tube
from pose_topo.study import joints as J


def _hair_mask(left: np.ndarray, up: np.ndarray, front: np.ndarray, style: str) -> np.ndarray:
    """Return where the scalp has hair: above the forehead, behind the ears, down to the nape."""
    if style == "bald":
        return np.zeros(left.shape, bool)
    sides = F(0.25) if style in ("medium", "long", "round") else F(0.0)
    nape = F(-0.62) if style in ("short", "bun", "ponytail") else F(-0.9)
    return (up > F(0.52)) | ((front < sides) & (up > F(-0.3))) | ((front < F(-0.2)) & (up > nape))


def _face(colour: np.ndarray, left: np.ndarray, up: np.ndarray, front: np.ndarray, look: Look) -> np.ndarray:
    """Paint eyes, brows, mouth, beard and glasses over `colour` (n, 3), on the front of the unit sphere."""
    ahead = front > 0
    aside = np.abs(left) - F(0.36)
    if look.beard:
        colour = mix(colour, look.hair, ahead & (up < F(-0.28)))
    colour = mix(colour, look.hair * F(0.7), ahead & (np.abs(aside) < F(0.19)) & (np.abs(up - F(0.27)) < F(0.045)))
    eye = aside**2 * F(28) + (up - F(0.06)) ** 2 * F(90)
    colour = mix(colour, np.array([240, 238, 232], F), ahead & (eye < F(1)))
    colour = mix(colour, np.array([30, 24, 22], F), ahead & (aside**2 + (up - F(0.06)) ** 2 < F(0.0085)))
    if look.glasses:
        frame = ahead & (np.abs(up - F(0.06)) < F(0.13)) & (np.abs(aside) < F(0.24))
        colour = mix(colour, np.array([24, 22, 26], F), frame)
    mouth = ahead & (np.abs(left) < F(0.27)) & (np.abs(up + F(0.48)) < F(0.05))
    return mix(colour, look.skin * np.array([0.75, 0.42, 0.42], F), mouth)


# offset of the hair's middle (left, up, front; in semi-axes of the head) and its size over the head's
_MASSES = {
    "medium": (((0.0, -0.15, -0.32), (1.14, 0.98, 0.86)),),
    "long": (((0.0, -0.1, -0.3), (1.14, 1.0, 0.84)), ((0.0, -0.9, -0.62), (1.02, 0.95, 0.5))),
    "ponytail": (((0.0, 0.3, -1.15), (0.3, 0.3, 0.3)), ((0.0, -0.45, -1.3), (0.3, 0.75, 0.26))),
    "bun": (((0.0, 0.62, -0.85), (0.5, 0.4, 0.45)),),
    "round": (((0.0, 0.22, -0.42), (1.38, 1.05, 1.18)),),
}


def draw_figure(canvas: Canvas, figure: Figure, look: Look, person: int) -> None:
    """Paint the person, part by part, the farthest first. The pixels of a part get the owner person * PARTS + part."""
    for _, paint in sorted(_Painter(canvas, figure, look, person * P.PARTS).parts(), key=lambda part: part[0]):
        paint()


class _Painter:
    def __init__(self, canvas: Canvas, figure: Figure, look: Look, owner: int) -> None:
        self.canvas, self.figure, self.look, self.owner = canvas, figure, look, owner
        self.joints, self.height = figure.joints, figure.height
        self.girth = figure.height * look.build

    def parts(self) -> list[tuple[float, Callable[[], None]]]:
        """Return (mean depth, painter) of every part. Where two parts cross, the depth buffer decides."""

        def middle(*joints: int) -> float:
            return float(sum(self.joints[joint, 2] for joint in joints)) / len(joints)

        trunk_depth = middle(J.PELVIS, J.THORAX)
        items: list[tuple[float, Callable[[], None]]] = [
            (trunk_depth - 1, self._hips),
            (trunk_depth, self._trunk),
            (middle(J.THORAX), self._neck),
            (self.figure.head[2] - 1, self._hair),
            (self.figure.head[2], self._head),
        ]
        if self.look.backpack is not None:
            behind = trunk_depth - float(self.figure.skeleton.trunk[2, 2]) * 0.1 * self.height
            items.append((behind, partial(self._backpack, self.look.backpack)))
        if self.look.skirt is not None:
            items.append((trunk_depth + 1, partial(self._skirt, self.look.skirt)))
        for k, ((_, hip, knee, ankle), (_, shoulder, elbow, wrist)) in enumerate(zip(LEGS, ARMS, strict=True)):
            items += [
                (middle(hip, knee), partial(self._thigh, k)),
                (middle(knee, ankle), partial(self._shank, k)),
                (middle(ankle), partial(self._foot, k)),
                (middle(shoulder, elbow), partial(self._upper_arm, k)),
                (middle(elbow, wrist), partial(self._forearm, k)),
            ]
        return items

    def _limb(
        self, start: np.ndarray, end: np.ndarray, radii: tuple[float, ...], texture: Texture, part: int, **options: Any
    ) -> None:
        """A tube whose radii are in standing heights."""
        a, b = ((float(p[0]), float(p[1]), float(p[2])) for p in (start, end))
        scaled = tuple(radius * self.girth for radius in radii)
        tube(self.canvas, a, b, scaled, texture, self.owner + part, **options)

    def _clad(self, cloth: Cloth, length: float = 1.0) -> Callable[..., np.ndarray]:
        """Cloth down to the share `length` of the limb, then skin."""

        def texture(t: np.ndarray, along: np.ndarray, across: np.ndarray, _: Normal) -> np.ndarray:
            if length <= 0:
                return self.look.skin
            colour = cloth.colour(t, along, across, self.height)
            return colour if length >= 1 else mix(colour, self.look.skin, t > F(length))

        return texture

    def _thigh(self, k: int) -> None:
        _, hip, knee, _ = LEGS[k]
        length = self.look.legs
        radii = (0.052, 0.05, 0.043, 0.036) if length >= 1 else (0.05, 0.046, 0.039, 0.033)
        texture = self._clad(self.look.trousers, length)
        self._limb(self.joints[hip], self.joints[knee], radii, texture, P.THIGH + RIGHT * k)

    def _shank(self, k: int) -> None:
        _, _, knee, ankle = LEGS[k]
        length, socks = self.look.legs - 1, self.look.socks
        radii = (0.036, 0.037, 0.032, 0.029) if length >= 1 else (0.033, 0.036, 0.027, 0.021)
        texture = leg = self._clad(self.look.trousers, length)
        if socks is not None and length < 1:

            def texture(t: np.ndarray, *rest: object) -> np.ndarray:
                return mix(leg(t, *rest), socks, t > F(0.68))

        self._limb(self.joints[knee], self.joints[ankle], radii, texture, P.SHANK + RIGHT * k)

    def _foot(self, k: int) -> None:
        heel = self.joints[LEGS[k][3]] + np.array([0, 0.012 * self.height, 0])
        self._limb(heel, self.figure.toes[k], (0.025, 0.025, 0.019), self.look.shoes, P.FOOT + RIGHT * k)

    def _upper_arm(self, k: int) -> None:
        _, shoulder, elbow, _ = ARMS[k]
        length = self.look.sleeves
        radii = (0.036, 0.032, 0.027) if length >= 1 else (0.034, 0.029, 0.0235)
        texture = self._clad(self.look.shirt, length)
        self._limb(self.joints[shoulder], self.joints[elbow], radii, texture, P.UPPER_ARM + RIGHT * k)

    def _forearm(self, k: int) -> None:
        _, _, elbow, wrist = ARMS[k]
        length = self.look.sleeves - 1
        radii = (0.027, 0.025, 0.021) if length >= 1 else (0.0235, 0.0235, 0.0165)
        texture = self._clad(self.look.shirt, length)
        self._limb(self.joints[elbow], self.joints[wrist], radii, texture, P.FOREARM + RIGHT * k)
        hand = self.figure.hands[k]
        self._limb(self.joints[wrist], hand, (0.0175, 0.021, 0.016), self.look.skin, P.HAND + RIGHT * k)

    def _section(self, widths: tuple[float, ...], depths: tuple[float, ...]) -> tuple[tuple[float, ...], float]:
        """Return the radii of the trunk's elliptic sections in the picture, and their depth over their width."""
        trunk = self.figure.skeleton.trunk
        x, y = self.joints[J.THORAX, :2] - self.joints[J.PELVIS, :2]
        length = max(float(np.sqrt(x * x + y * y)), 0.12 * self.height)
        across = np.array([-y / length, -x / length])  # of unit length in the frame with y up
        left, front = float(trunk[:2, 0] @ across), float(trunk[:2, 2] @ across)
        sections = list(zip(widths, depths, strict=True))
        radii = tuple(float(np.sqrt((w * left) ** 2 + (d * front) ** 2 + 1e-4)) for w, d in sections)
        deep = sum(float(np.sqrt((w * trunk[2, 0]) ** 2 + (d * trunk[2, 2]) ** 2)) for w, d in sections)
        return radii, deep / sum(radii)

    def _hips(self) -> None:
        joints, look = self.joints, self.look
        fit = 1.06 if look.tucked else 0.93  # over the shirt or under it
        widths, depths = (0.06, 0.088, 0.086), (0.052, 0.068, 0.066)
        radii, thickness = self._section(tuple(fit * w for w in widths), tuple(fit * d for d in depths))
        thickness *= 1.0 if look.tucked else 0.82  # or the belly would poke through the shirt
        top = joints[J.PELVIS] + 0.16 * (joints[J.THORAX] - joints[J.PELVIS])
        bottom = joints[[J.R_HIP, J.L_HIP]].mean(0)
        texture = self._clad(look.trousers)
        self._limb(bottom, top, radii, texture, P.HIPS, thickness=thickness, flat=(False, True))
        self._limb(joints[J.R_HIP], joints[J.L_HIP], (0.05, 0.05), texture, P.HIPS)

    def _trunk(self) -> None:
        joints = self.joints
        radii, thickness = self._section(
            (0.089, 0.085, 0.084, 0.094, 0.104, 0.102, 0.066), (0.068, 0.066, 0.066, 0.07, 0.07, 0.06, 0.045)
        )
        bottom = joints[J.PELVIS] + 0.04 * (joints[J.THORAX] - joints[J.PELVIS])
        yoke = joints[J.THORAX] + 0.15 * (joints[J.PELVIS] - joints[J.THORAX])
        for shoulder in (J.R_SHOULDER, J.L_SHOULDER):
            self._limb(yoke, joints[shoulder], (0.045, 0.038), self._clad(self.look.shirt), P.TRUNK)
        self._limb(
            bottom, joints[J.THORAX], radii, self._trunk_texture, P.TRUNK, thickness=thickness, flat=(True, False)
        )

    def _trunk_texture(self, t: np.ndarray, along: np.ndarray, across: np.ndarray, normal: Normal) -> np.ndarray:
        """Paint the shirt, whose front differs from its back by neckline, buttons, a print or an open jacket."""
        look, trunk = self.look, self.figure.skeleton.trunk
        nx, ny, nz = normal
        left = nx * F(trunk[0, 0]) - ny * F(trunk[1, 0]) + nz * F(trunk[2, 0])
        front = nx * F(trunk[0, 2]) - ny * F(trunk[1, 2]) + nz * F(trunk[2, 2])
        colour = look.shirt.colour(t, along, across, self.height)
        ahead, sideways = front > 0, np.abs(left)
        if look.front == "jacket":
            colour = mix(colour, look.shirt.second, ahead & (sideways < F(0.3)))
        elif look.front == "buttons":
            colour = mix(colour, look.shirt.first * F(0.45), ahead & (sideways < F(0.05)))
        elif look.front == "logo":
            colour = mix(colour, look.shirt.second, ahead & (sideways < F(0.4)) & (np.abs(t - F(0.66)) < F(0.1)))
        edge = F(1.0 - 0.22 * look.collar)
        return mix(colour, look.skin, ahead & (t > edge + sideways * F(0.35)))

    def _neck(self) -> None:
        joints = self.joints
        start = joints[J.THORAX] + 0.08 * (joints[J.PELVIS] - joints[J.THORAX])
        end = joints[J.UPPER_NECK] + 0.2 * (joints[J.HEAD_TOP] - joints[J.UPPER_NECK])
        self._limb(start, end, (0.034, 0.031), self.look.skin * F(0.9), P.NECK)

    def _skirt(self, length: float) -> None:
        joints = self.joints
        hips = joints[[J.R_HIP, J.L_HIP]].mean(0)
        knees = joints[[J.R_KNEE, J.L_KNEE]].mean(0)
        spread = (joints[J.R_KNEE] - joints[J.L_KNEE]) / (2 * self.girth)
        hem = min(0.07 + 0.02 * length + float(np.sqrt(spread[0] ** 2 + spread[1] ** 2)) * min(length, 1.2), 0.2)
        top = hips + 0.12 * (joints[J.THORAX] - joints[J.PELVIS])
        (waist,), thickness = self._section((0.086,), (0.068,))
        end = hips + length * (knees - hips)
        self._limb(
            top, end, (waist, hem), self._clad(self.look.trousers), P.SKIRT, thickness=thickness, flat=(True, True)
        )

    def _backpack(self, colour: np.ndarray) -> None:
        front = self.figure.skeleton.trunk[:, 2] * np.array([1, -1, 1])
        pelvis = self.joints[J.PELVIS]
        axis = self.joints[J.THORAX] - pelvis
        back = -0.095 * self.height * front
        low, high = pelvis + 0.3 * axis + back, pelvis + 0.82 * axis + back
        self._limb(low, high, (0.068, 0.075, 0.06), colour, P.BACKPACK, thickness=0.8)

    def _head(self) -> None:
        """The skull with face, short hair and hat, then nose and ears."""
        look, axes, height, owner = self.look, self.figure.skeleton.head, self.height, self.owner + P.HEAD

        def texture(left: np.ndarray, up: np.ndarray, front: np.ndarray) -> np.ndarray:
            colour = _face(np.broadcast_to(look.skin, (*left.shape, 3)), left, up, front, look)
            colour = mix(colour, look.hair, _hair_mask(left, up, front, look.hair_style))
            if look.hat is not None:
                colour = mix(colour, look.hat, up > F(0.36))
                colour = mix(colour, look.hat * F(0.6), np.abs(up - F(0.4)) < F(0.05))
            return colour

        ellipsoid(self.canvas, self.figure.head, axes, HEAD_SEMI * height, texture, owner)
        bridge, tip = self._on_head(0, 0.05, 0.93), self._on_head(0, -0.2, 1.08)
        tube(self.canvas, bridge, tip, (0.006 * height, 0.011 * height), look.skin, owner)
        if look.hair_style not in ("long", "medium", "round"):
            for side in (-1.0, 1.0):
                semi = np.array([0.007, 0.019, 0.013]) * height
                ellipsoid(self.canvas, self._on_head(side, -0.02, -0.1), axes, semi, look.skin, owner)
        if look.hat is not None and look.brim:
            start, end = self._on_head(0, 0.42, 0.6), self._on_head(0, 0.34, 1.55)
            tube(self.canvas, start, end, (0.03 * height, 0.024 * height), look.hat * F(0.75), owner, thickness=0.3)

    def _hair(self) -> None:
        """Paint the hair that stands off the skull. It lies behind the face, because the depth buffer is used."""
        for offset, size in _MASSES.get(self.look.hair_style, ()):
            semi = HEAD_SEMI * np.array(size) * self.height
            axes = self.figure.skeleton.head
            ellipsoid(self.canvas, self._on_head(*offset), axes, semi, self.look.hair, self.owner + P.HAIR)

    def _on_head(self, left: float, up: float, front: float) -> Place:
        """Return the place at an offset, in semi-axes of the head, from the centre of the head."""
        x, y, z = self.figure.head
        step = self.figure.skeleton.head @ (np.array([left, up, front]) * HEAD_SEMI * self.height)
        return x + float(step[0]), y - float(step[1]), z + float(step[2])
