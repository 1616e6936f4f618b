"""Paint one person: head and hair, then all parts of the body from far to near.

The head is an ellipsoid with a face on its front, so that it turns as a head does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pose_topo.rendering.appearance import Cloth, Look, mix
from pose_topo.rendering.poses import (
    ARMS,
    BACKPACK,
    FOOT,
    FOREARM,
    HAIR,
    HAND,
    HEAD,
    HEAD_SEMI,
    HIPS,
    LEGS,
    NECK,
    PARTS,
    RIGHT,
    SHANK,
    SKIRT,
    THIGH,
    TRUNK,
    UPPER_ARM,
    Figure,
)
from pose_topo.rendering.raster import Canvas, F, Light, ellipsoid, tube
from pose_topo.study import joints as J

Place = tuple[float, float, float]


def _shifted(centre: Place, axes: np.ndarray, height: float, offset: tuple[float, float, float]) -> Place:
    """Return the place at `offset` (left, up, front; in semi-axes of the head) from the centre of the head."""
    step = axes @ (np.array(offset) * HEAD_SEMI * height)
    return centre[0] + float(step[0]), centre[1] - float(step[1]), centre[2] + float(step[2])


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
    """Paint the hair that stands off the skull. It lies behind the face, because the depth buffer is used."""
    for offset, size in _MASSES.get(look.hair_style, ()):
        place = _shifted(centre, axes, height, offset)
        semi = HEAD_SEMI * np.array(size) * height
        ellipsoid(canvas, place, axes, semi, lambda *_: look.hair, light, owner)


# ---- The whole person, painted part by part, the farthest first.


def draw_figure(canvas: Canvas, figure: Figure, look: Look, light: Light, person: int) -> None:
    """Paint the person. The pixels of a part get the owner person * PARTS + part."""
    painter = _Painter(canvas, figure, look, light, person * PARTS)
    for _, paint in sorted(painter.parts(), key=lambda part: part[0]):
        paint()


class _Painter:
    def __init__(self, canvas: Canvas, figure: Figure, look: Look, light: Light, owner: int) -> None:
        self.canvas, self.figure, self.look, self.light, self.owner = canvas, figure, look, light, owner
        self.height = figure.height
        self.girth = figure.height * look.build

    def parts(self) -> list[tuple[float, Callable[[], None]]]:
        """Return (mean depth, painter) of every part. Where two parts cross, the depth buffer decides."""
        joints = self.figure.joints
        depth = joints[:, 2]
        trunk_depth = float(depth[J.PELVIS] + depth[J.THORAX]) / 2
        items: list[tuple[float, Callable[[], None]]] = [
            (trunk_depth - 1, self._hips),
            (trunk_depth, self._trunk),
            (float(depth[J.THORAX]), self._neck),
            (self.figure.head[2] - 1, self._hair),
            (self.figure.head[2], self._head),
        ]
        if self.look.backpack is not None:
            behind = trunk_depth - float(self.figure.skeleton.trunk[2, 2]) * 0.1 * self.height
            items.append((behind, self._backpack))
        if self.look.skirt is not None:
            items.append((trunk_depth + 1, self._skirt))
        for k in range(2):
            _, hip, knee, ankle = LEGS[k]
            _, shoulder, elbow, wrist = ARMS[k]
            items.append((float(depth[hip] + depth[knee]) / 2, lambda k=k: self._thigh(k)))
            items.append((float(depth[knee] + depth[ankle]) / 2, lambda k=k: self._shank(k)))
            items.append((float(depth[ankle]), lambda k=k: self._foot(k)))
            items.append((float(depth[shoulder] + depth[elbow]) / 2, lambda k=k: self._upper_arm(k)))
            items.append((float(depth[elbow] + depth[wrist]) / 2, lambda k=k: self._forearm(k)))
        return items

    def _limb(
        self,
        start: np.ndarray,
        end: np.ndarray,
        radii: tuple[float, ...],
        texture: Callable[..., np.ndarray],
        part: int,
        **options: object,
    ) -> None:
        """A tube whose radii are in standing heights."""
        a, b = ((float(p[0]), float(p[1]), float(p[2])) for p in (start, end))
        scaled = tuple(radius * self.girth for radius in radii)
        tube(self.canvas, a, b, scaled, texture, self.light, self.owner + part, **options)  # type: ignore[arg-type]

    def _clad(self, cloth: Cloth, length: float, bare: np.ndarray) -> Callable[..., np.ndarray]:
        """Cloth down to the share `length` of the limb, then `bare`."""

        def texture(t: np.ndarray, along: np.ndarray, across: np.ndarray, _: object) -> np.ndarray:
            if length <= 0:
                return bare
            colour = cloth.colour(t, along, across, self.height)
            return colour if length >= 1 else mix(colour, bare, t > F(length))

        return texture

    def _plain(self, colour: np.ndarray) -> Callable[..., np.ndarray]:
        return lambda *_: colour

    def _thigh(self, k: int) -> None:
        _, hip, knee, _ = LEGS[k]
        joints, look = self.figure.joints, self.look
        radii = (0.052, 0.05, 0.043, 0.036) if look.legs >= 1 else (0.05, 0.046, 0.039, 0.033)
        self._limb(
            joints[hip],
            joints[knee],
            radii,
            self._clad(look.trousers, look.legs, look.skin),
            THIGH + RIGHT * k,
        )

    def _shank(self, k: int) -> None:
        _, _, knee, ankle = LEGS[k]
        joints, look = self.figure.joints, self.look
        wide = look.legs >= 2
        radii = (0.036, 0.037, 0.032, 0.029) if wide else (0.033, 0.036, 0.027, 0.021)
        bare = look.skin
        if look.socks is not None and not wide:
            socks = look.socks

            def texture(t: np.ndarray, *rest: object) -> np.ndarray:
                return mix(self._clad(look.trousers, look.legs - 1, bare)(t, *rest), socks, t > F(0.68))
        else:
            texture = self._clad(look.trousers, look.legs - 1, bare)
        self._limb(joints[knee], joints[ankle], radii, texture, SHANK + RIGHT * k)

    def _foot(self, k: int) -> None:
        ankle = self.figure.joints[LEGS[k][3]]
        toe = self.figure.toes[k]
        heel = ankle + np.array([0, 0.012 * self.height, 0])
        self._limb(heel, toe, (0.025, 0.025, 0.019), self._plain(self.look.shoes), FOOT + RIGHT * k)

    def _upper_arm(self, k: int) -> None:
        _, shoulder, elbow, _ = ARMS[k]
        joints, look = self.figure.joints, self.look
        radii = (0.036, 0.032, 0.027) if look.sleeves >= 1 else (0.034, 0.029, 0.0235)
        texture = self._clad(look.shirt, look.sleeves, look.skin)
        self._limb(joints[shoulder], joints[elbow], radii, texture, UPPER_ARM + RIGHT * k)

    def _forearm(self, k: int) -> None:
        _, _, elbow, wrist = ARMS[k]
        joints, look = self.figure.joints, self.look
        radii = (0.027, 0.025, 0.021) if look.sleeves >= 2 else (0.0235, 0.0235, 0.0165)
        texture = self._clad(look.shirt, look.sleeves - 1, look.skin)
        self._limb(joints[elbow], joints[wrist], radii, texture, FOREARM + RIGHT * k)
        self._limb(
            joints[wrist],
            self.figure.hands[k],
            (0.0175, 0.021, 0.016),
            self._plain(look.skin),
            HAND + RIGHT * k,
        )

    def _section(self, widths: tuple[float, ...], depths: tuple[float, ...]) -> tuple[tuple[float, ...], float]:
        """Return the radii of the trunk's elliptic sections in the picture, and their depth over their width."""
        trunk, joints = self.figure.skeleton.trunk, self.figure.joints
        x, y = joints[J.THORAX, :2] - joints[J.PELVIS, :2]
        length = max(float(np.sqrt(x * x + y * y)), 0.12 * self.height)
        across = np.array([-y / length, -x / length])  # of unit length in the frame with y up
        left, front = float(trunk[:2, 0] @ across), float(trunk[:2, 2] @ across)
        radii = tuple(
            float(np.sqrt((w * left) ** 2 + (d * front) ** 2 + 1e-4)) for w, d in zip(widths, depths, strict=True)
        )
        deep = tuple(
            float(np.sqrt((w * trunk[2, 0]) ** 2 + (d * trunk[2, 2]) ** 2)) for w, d in zip(widths, depths, strict=True)
        )
        return radii, sum(deep) / sum(radii)

    def _hips(self) -> None:
        joints, look = self.figure.joints, self.look
        fit = 1.06 if look.tucked else 0.93  # over the shirt or under it
        widths, depths = (0.06, 0.088, 0.086), (0.052, 0.068, 0.066)
        radii, thickness = self._section(tuple(fit * w for w in widths), tuple(fit * d for d in depths))
        thickness *= 1.0 if look.tucked else 0.82  # or the belly would poke through the shirt
        top = joints[J.PELVIS] + 0.16 * (joints[J.THORAX] - joints[J.PELVIS])
        bottom = joints[[J.R_HIP, J.L_HIP]].mean(0)
        texture = self._clad(look.trousers, 1.0, look.skin)
        self._limb(bottom, top, radii, texture, HIPS, thickness=thickness, flat=(False, True))
        self._limb(joints[J.R_HIP], joints[J.L_HIP], (0.05, 0.05), texture, HIPS)

    def _trunk(self) -> None:
        joints, look = self.figure.joints, self.look
        radii, thickness = self._section(
            (0.089, 0.085, 0.084, 0.094, 0.104, 0.102, 0.066), (0.068, 0.066, 0.066, 0.07, 0.07, 0.06, 0.045)
        )
        bottom = joints[J.PELVIS] + 0.04 * (joints[J.THORAX] - joints[J.PELVIS])
        texture = self._trunk_texture
        for shoulder in (J.R_SHOULDER, J.L_SHOULDER):
            yoke = joints[J.THORAX] + 0.15 * (joints[J.PELVIS] - joints[J.THORAX])
            self._limb(yoke, joints[shoulder], (0.045, 0.038), self._clad(look.shirt, 1.0, look.skin), TRUNK)
        self._limb(bottom, joints[J.THORAX], radii, texture, TRUNK, thickness=thickness, flat=(True, False))

    def _trunk_texture(
        self,
        t: np.ndarray,
        along: np.ndarray,
        across: np.ndarray,
        normal: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> np.ndarray:
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
        neckline = ahead & (t > edge + sideways * F(0.35))
        return mix(colour, look.skin, neckline)

    def _neck(self) -> None:
        joints = self.figure.joints
        start = joints[J.THORAX] + 0.08 * (joints[J.PELVIS] - joints[J.THORAX])
        end = joints[J.UPPER_NECK] + 0.2 * (joints[J.HEAD_TOP] - joints[J.UPPER_NECK])
        self._limb(start, end, (0.034, 0.031), self._plain(self.look.skin * F(0.9)), NECK)

    def _skirt(self) -> None:
        joints, length = self.figure.joints, self.look.skirt or 0.0
        hips = joints[[J.R_HIP, J.L_HIP]].mean(0)
        knees = joints[[J.R_KNEE, J.L_KNEE]].mean(0)
        spread = (joints[J.R_KNEE] - joints[J.L_KNEE]) / (2 * self.girth)
        hem = min(0.07 + 0.02 * length + float(np.sqrt(spread[0] ** 2 + spread[1] ** 2)) * min(length, 1.2), 0.2)
        top = hips + 0.12 * (joints[J.THORAX] - joints[J.PELVIS])
        radii, thickness = self._section((0.086,), (0.068,))
        texture = self._clad(self.look.trousers, 1.0, self.look.skin)
        end = hips + length * (knees - hips)
        self._limb(top, end, (radii[0], hem), texture, SKIRT, thickness=thickness, flat=(True, True))

    def _backpack(self) -> None:
        joints, colour = self.figure.joints, self.look.backpack
        assert colour is not None
        front = self.figure.skeleton.trunk[:, 2] * np.array([1, -1, 1])
        axis = joints[J.THORAX] - joints[J.PELVIS]
        back = -0.095 * self.height * front
        low, high = joints[J.PELVIS] + 0.3 * axis + back, joints[J.PELVIS] + 0.82 * axis + back
        self._limb(low, high, (0.068, 0.075, 0.06), self._plain(colour), BACKPACK, thickness=0.8)

    def _head(self) -> None:
        paint_head(
            self.canvas,
            self.figure.head,
            self.figure.skeleton.head,
            self.height,
            self.look,
            self.light,
            self.owner + HEAD,
        )

    def _hair(self) -> None:
        paint_hair(
            self.canvas,
            self.figure.head,
            self.figure.skeleton.head,
            self.height,
            self.look,
            self.light,
            self.owner + HAIR,
        )
