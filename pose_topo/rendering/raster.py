"""The picture under construction: shaded tubes and ellipsoids with depth and a buffer of who owns each pixel.

Pixel coordinates: x right, y down, a pixel's centre at its integer coordinates. Depth, in pixels, grows towards
the camera. Only +, -, *, / and square roots touch the arrays, so every CPU paints the same owners.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

F = np.float32
Place = tuple[float, float, float]  # x, y and depth
Normal = tuple[np.ndarray, np.ndarray, np.ndarray]  # x, y and depth, each (n,)
Texture = np.ndarray | Callable[..., np.ndarray]  # one colour (3,), or a function that gives the colour of places


@dataclass(frozen=True)
class Light:
    """A direction (x right, y down, z towards the camera; unit length) and the ambient share."""

    direction: tuple[float, float, float]
    ambient: float

    def shade(self, nx: np.ndarray, ny: np.ndarray, nz: np.ndarray) -> np.ndarray:
        """Brightness (n,), about 0.4 to 1.25, of a surface with these unit normals."""
        lx, ly, lz = self.direction
        lit = np.maximum(nx * F(lx) + ny * F(ly) + nz * F(lz), F(0))
        rim = F(0.75) + F(0.25) * nz  # surfaces that turn away look darker: outlines stay readable
        return (F(self.ambient) + F(1.25 - self.ambient) * lit) * rim


class Canvas:
    """Colour (H, W, 3) uint8 RGB, depth (H, W) float32, owner (H, W) int16 (0: the background), and the light."""

    def __init__(self, colour: np.ndarray, grain: np.ndarray, light: Light) -> None:
        self.colour = colour
        self.grain = grain  # (H, W) float32 near 1: the unevenness of cloth and skin
        self.light = light
        self.depth = np.full(colour.shape[:2], -np.inf, np.float32)
        self.owner = np.zeros(colour.shape[:2], np.int16)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.colour.shape[1], self.colour.shape[0]

    def window(self, x1: float, y1: float, x2: float, y2: float) -> tuple[slice, slice] | None:
        """Rows and columns of a box, cut to the picture; None if nothing is left."""
        width, height = self.size
        left, right = max(0, math.floor(x1) - 1), min(width, math.ceil(x2) + 2)
        top, bottom = max(0, math.floor(y1) - 1), min(height, math.ceil(y2) + 2)
        return None if left >= right or top >= bottom else (slice(top, bottom), slice(left, right))

    def paint(self, place: np.ndarray, cover: np.ndarray, depth: np.ndarray, colour: np.ndarray, owner: int) -> None:
        """Lay `colour` (n, 3), 0 to 255, over the pixels `place` (n,) where it is nearer than what is there.

        `cover` (n,) is the share of the pixel that is covered; a pixel changes its owner from one half on.
        """
        cover = np.where(depth > self.depth.ravel()[place], cover, F(0))
        solid = cover > F(0.5)
        owned = place[solid]
        self.owner.reshape(-1)[owned] = owner
        self.depth.reshape(-1)[owned] = depth[solid]
        pixels = self.colour.reshape(-1, 3)
        below = pixels[place].astype(F)
        below += cover[:, None] * (colour - below)
        np.minimum(below, F(255), out=below)  # colours are never negative
        below += F(0.5)
        pixels[place] = below.astype(np.uint8)

    def places(self, window: tuple[slice, slice], inside: np.ndarray) -> np.ndarray:
        """Flat pixel numbers of the flat places `inside` (n,) of a window."""
        rows, columns = window
        row, column = np.divmod(inside, columns.stop - columns.start)
        return (row + rows.start) * self.size[0] + (column + columns.start)


def _unit(values: np.ndarray) -> np.ndarray:
    """Cut to [0, 1]; on small arrays much faster than numpy's clip."""
    np.maximum(values, F(0), out=values)
    return np.minimum(values, F(1), out=values)


def pixel_grid(window: tuple[slice, slice], x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
    """Columns (1, w) and rows (h, 1) relative to the point (x, y)."""
    rows, columns = window
    dx = (np.arange(columns.start, columns.stop) - x).astype(F)[None, :]
    dy = (np.arange(rows.start, rows.stop) - y).astype(F)[:, None]
    return dx, dy


def tube(
    canvas: Canvas,
    start: Place,
    end: Place,
    radii: tuple[float, ...],
    texture: Texture,
    owner: int,
    thickness: float = 1.0,
    flat: tuple[bool, bool] = (False, False),
) -> None:
    """A limb between two points, with radii at equally spaced stations and round or flat ends.

    A function `texture(t, along, across, normal)` gives the colour (n, 3) or (3,) from the share of the axis (0 to 1),
    the pixels along and across it and the normals; `thickness` is the cross-section's depth over its width.
    """
    (ax, ay, az), (bx, by, bz) = start, end
    reach = max(radii)
    window = canvas.window(min(ax, bx) - reach, min(ay, by) - reach, max(ax, bx) + reach, max(ay, by) + reach)
    if window is None:
        return
    length = max(math.hypot(bx - ax, by - ay), 1e-3)
    ux, uy = (bx - ax) / length, (by - ay) / length
    dx, dy = pixel_grid(window, ax, ay)
    along = dx * F(ux) + dy * F(uy)
    nearest = np.minimum(np.maximum(along, F(0)), F(length))
    t = nearest * F(1 / length)
    radius = _radius(t, radii)
    ox, oy = dx - nearest * F(ux), dy - nearest * F(uy)
    distance = np.sqrt(ox * ox + oy * oy)
    cover = _unit(radius - distance + F(0.5))
    if flat[0]:
        cover *= _unit(along + F(0.5))
    if flat[1]:
        cover *= _unit(F(length + 0.5) - along)
    # from here on only the pixels that are covered: a slanting limb fills little of its window
    inside = np.flatnonzero(cover)
    across = dy * F(ux) - dx * F(uy)
    t, along, across, radius, ox, oy, cover = (
        values.ravel()[inside] for values in (t, along, across, radius, ox, oy, cover)
    )
    nx, ny = ox / radius, oy / radius
    nz = np.sqrt(np.maximum(F(1) - nx * nx - ny * ny, F(0)))
    depth = F(az) + t * F(bz - az) + radius * nz * F(thickness)
    place = canvas.places(window, inside)
    shade = canvas.light.shade(nx, ny, nz) * canvas.grain.ravel()[place]
    colour = texture(t, along, across, (nx, ny, nz)) if callable(texture) else texture
    canvas.paint(place, cover, depth, shade[:, None] * colour, owner)


def _radius(t: np.ndarray, radii: tuple[float, ...]) -> np.ndarray:
    if len(radii) == 2:
        return F(radii[0]) + t * F(radii[1] - radii[0])
    return np.interp(t, np.linspace(0, 1, len(radii)), radii).astype(F)


def ellipsoid(canvas: Canvas, centre: Place, axes: np.ndarray, semi: np.ndarray, texture: Texture, owner: int) -> None:
    """An ellipsoid seen from afar. `axes` (3, 3) has its axes as columns (x right, y up, z to the camera).

    `semi` (3,) are the semi-axes in pixels. A function `texture(left, up, front)` gives the colour (n, 3) or (3,) from
    the place on the unit sphere, in the ellipsoid's own frame.
    """
    frame = axes * np.array([[1.0], [-1.0], [1.0]])  # y down, as the picture has it
    shape = frame @ np.diag(1 / semi**2) @ frame.T
    reach_x, reach_y = ellipsoid_reach(axes, semi)
    x, y, z = centre
    window = canvas.window(x - reach_x, y - reach_y, x + reach_x, y + reach_y)
    if window is None:
        return
    dx, dy = pixel_grid(window, x, y)
    half = dx * F(shape[0, 2]) + dy * F(shape[1, 2])
    flat = dx * dx * F(shape[0, 0]) + dx * dy * F(2 * shape[0, 1]) + dy * dy * F(shape[1, 1])
    root = half * half - F(shape[2, 2]) * (flat - F(1))  # discriminant of the depth's quadratic
    cover = _unit(root * F(min(reach_x, reach_y) / 2 / shape[2, 2]) + F(0.5))
    inside = np.flatnonzero(cover)
    dz = (np.sqrt(np.maximum(root, F(0))) - half) * F(1 / shape[2, 2])
    dx, dy = np.broadcast_arrays(dx, dy)
    dx, dy, dz, cover = (values.ravel()[inside] for values in (dx, dy, dz, cover))
    own = [(dx * F(frame[0, k]) + dy * F(frame[1, k]) + dz * F(frame[2, k])) * F(1 / semi[k]) for k in range(3)]
    nx, ny, nz = (
        own[0] * F(frame[i, 0] / semi[0]) + own[1] * F(frame[i, 1] / semi[1]) + own[2] * F(frame[i, 2] / semi[2])
        for i in range(3)
    )
    norm = F(1) / np.sqrt(nx * nx + ny * ny + nz * nz + F(1e-12))
    place = canvas.places(window, inside)
    shade = canvas.light.shade(nx * norm, ny * norm, nz * norm) * canvas.grain.ravel()[place]
    colour = texture(*own) if callable(texture) else texture
    canvas.paint(place, cover, F(z) + dz, shade[:, None] * colour, owner)


def ellipsoid_reach(axes: np.ndarray, semi: np.ndarray) -> tuple[float, float]:
    """Half width and half height in pixels of an ellipsoid's outline."""
    reach = np.sqrt(((axes * semi) ** 2).sum(1))
    return float(reach[0]), float(reach[1])
