"""Draw portraits, 178x218 like CelebA's aligned photographs, whose attributes can be seen."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

WIDTH_PX, HEIGHT_PX = 178, 218
SCALE = 1.5  # the canvas is larger than the picture: the final warp shrinks and smooths
X0, EYE_Y = 88.5, 111.0  # between the eyes, as in CelebA's alignment
Image = NDArray[Any]  # uint8
Points = NDArray[np.float64]
Colour = tuple[float, float, float]
Cues = Mapping[str, float]
Window = tuple[slice, slice]

GEOMETRY = (
    "width", "height", "jaw", "eye_gap", "eye_size", "eye_tilt", "brow_y", "brow_tilt",
    "nose_length", "nose_width", "mouth_width", "mouth_y", "lip", "hairline", "volume", "length",
    "part", "tone", "warmth", "ear", "neck", "iris", "curl", "chin",
)  # fmt: skip
SKINS = np.array([  # RGB, light to dark
    (246, 214, 190), (236, 194, 164), (219, 170, 134), (190, 138, 102), (150, 102, 72),
    (104, 68, 48),
])  # fmt: skip
IRISES = ((92, 62, 38), (58, 38, 26), (98, 112, 66), (84, 122, 152), (112, 120, 124), (126, 92, 48))
HAIRS: dict[str, Colour] = {
    "Black_Hair": (30, 26, 26), "Brown_Hair": (104, 66, 38), "Blond_Hair": (222, 184, 112),
    "Gray_Hair": (186, 186, 190), "": (148, 110, 74),
}  # fmt: skip
EYE_SHADOWS = ((96, 60, 84), (70, 64, 90), (120, 74, 50), (60, 84, 96))
LIPSTICKS = ((186, 20, 44), (204, 48, 92), (150, 24, 60), (216, 72, 74), (128, 20, 40))
TIES = ((150, 22, 34), (24, 40, 96), (90, 20, 70), (30, 30, 34), (30, 90, 70))
FRAMES = ((16, 14, 16), (70, 40, 24), (90, 20, 24), (20, 24, 50))
EARRINGS = ((236, 190, 80), (222, 226, 234), (70, 170, 190), (214, 60, 90))
NECKLACES = ((250, 204, 84), (250, 246, 238))


@lru_cache
def _spline(n_points: int, closed: bool) -> NDArray[np.float64]:
    """Weights (n_samples, n_points) of a Catmull-Rom curve through n_points points."""
    n_spans = n_points if closed else n_points - 1
    weights = np.zeros((n_spans * 6 + (not closed), n_points))
    for row in range(len(weights)):
        span = min(row // 6, n_spans - 1)
        t = (row - 6 * span) / 6
        basis = -t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2
        for k, weight in enumerate(basis):
            at = span + k - 1
            at = at % n_points if closed else min(max(at, 0), n_points - 1)
            weights[row, at] += weight / 2
    return weights


def curve(points: ArrayLike, closed: bool = False) -> Points:
    """Smooth curve through points (n, 2); returns about six points for each."""
    points = np.asarray(points, np.float64)
    return _spline(len(points), closed) @ points


def ellipse(x: float, y: float, rx: float, ry: float, n: int = 20) -> Points:
    """Return n points (n, 2) on an ellipse."""
    t = np.arange(n) * (2 * np.pi / n)
    return np.stack([x + rx * np.cos(t), y + ry * np.sin(t)], 1)


def shade(colour: Sequence[float] | NDArray[np.float64], factor: float, add: float = 0) -> Colour:
    """Multiply a colour and add to it, within 0 to 255."""
    r, g, b = (float(min(max(v * factor + add, 0), 255)) for v in colour)
    return r, g, b


def blur(mask: Image, sigma: float) -> Image:
    """Gaussian blur; sigma in canvas pixels, none below 0.3."""
    return cv2.GaussianBlur(mask, (0, 0), sigma) if sigma > 0.3 else mask


@lru_cache(maxsize=1)
def _noise() -> NDArray[np.float32]:
    """One sheet (1024, 1024) of white noise, sigma 1, that all pictures cut their grain from."""
    return np.random.default_rng(7).normal(size=(1024, 1024)).astype(np.float32)


@lru_cache(maxsize=1)
def _streaks() -> NDArray[np.float32]:
    """One sheet (512, 512) of vertical streaks, sigma 1, the combed look of hair."""
    sheet = cv2.GaussianBlur(_noise()[:512, :512], (0, 0), 0.7, sigmaY=14)
    coarse = cv2.GaussianBlur(_noise()[512:, 512:], (0, 0), 3.0, sigmaY=40)
    sheet = sheet / sheet.std() + 0.7 * coarse / coarse.std()
    return (sheet / sheet.std()).astype(np.float32)


def grain(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float32]:
    """Cut a random piece (rows, columns) out of the noise sheet."""
    y, x = rng.integers(0, 1024 - rows), rng.integers(0, 1024 - columns)
    return _noise()[y : y + rows, x : x + columns]


class Canvas:
    """An RGB uint8 picture at SCALE; its methods take x from the face's middle, y from the top.

    Both are pixels of the 178x218 frame. `smooth` draws a curve through the points, `both` draws
    their mirror image too.
    """

    def __init__(self, px: Image) -> None:
        self.px = px

    def fill(
        self, points: ArrayLike, colour: Colour, alpha: float = 1, soft: float = 0, *,
        smooth: bool = False, both: bool = False, rough: np.random.Generator | None = None,
    ) -> None:  # fmt: skip
        """Fill a polygon (n, 2), its edge blurred over soft pixels, its inside grained if rough."""
        for placed in _place(points, smooth, True, both) if alpha > 0.02 else ():
            window = self._window(placed, 2 + 3 * soft * SCALE)
            mask = self._polygon(placed, window)
            if mask.size:
                mask = blur(mask, soft * SCALE)
                if rough:
                    texture = (0.7 + 0.4 * grain(rough, *mask.shape)).clip(0, 1)
                    mask = (mask * texture).astype(np.uint8)
                self._blend(window, mask, colour, alpha)

    def line(
        self, points: ArrayLike, colour: Colour, width: float, alpha: float = 1, soft: float = 0, *,
        smooth: bool = True, both: bool = False,
    ) -> None:  # fmt: skip
        """Draw an open curve (n, 2) of some width in frame pixels."""
        thick = width * SCALE
        for placed in _place(points, smooth, False, both) if alpha > 0.02 else ():
            window = self._window(placed, 3 + (width + 3 * soft) * SCALE)
            mask = np.zeros(self.px[window].shape[:2], np.uint8)
            if mask.size:
                whole = max(1, round(thick))
                cv2.polylines(mask, [_fixed(placed, window)], False, 255, whole, cv2.LINE_AA, 4)
                self._blend(window, blur(mask, soft * SCALE), colour, alpha * min(1, thick))

    def mask(self, points: ArrayLike) -> Image:
        """Return the polygon as a mask 0 to 255 of the whole canvas."""
        rows, columns = self.px.shape[:2]
        return self._polygon(_place(points)[0], (slice(0, rows), slice(0, columns)))

    def inside(self, points: ArrayLike, paint: Callable[[], None]) -> None:
        """Let paint() draw, and keep what it drew inside the polygon only."""
        before, self.px = self.px, self.px.copy()  # what paint() spills is dropped with the copy
        paint()
        placed = _place(points)[0]
        window = self._window(placed, 2)
        patch, mask = before[window], self._polygon(placed, window)
        weight = mask[..., None] * np.float32(1 / 255)
        patch[:] = patch + (self.px[window] - patch.astype(np.float32)) * weight
        self.px = before

    def layer(self, layer: Image, mask: Image) -> None:
        """Lay a picture of the canvas's size over it through a mask 0 to 255."""
        x, y, width, height = cv2.boundingRect(mask)
        window = slice(y, y + height), slice(x, x + width)
        weight = mask[window] * np.float32(1 / 255)
        if weight.size:
            over, under = layer[window], self.px[window]
            self.px[window] = cv2.blendLinear(over, under, weight, 1 - weight)

    def _window(self, placed: Points, margin: float) -> Window:
        (x0, y0), (x1, y1) = placed.min(0) * SCALE - margin, placed.max(0) * SCALE + margin + 1
        rows, columns = self.px.shape[:2]
        return (
            slice(min(max(int(y0), 0), rows), max(min(int(y1) + 1, rows), 0)),
            slice(min(max(int(x0), 0), columns), max(min(int(x1) + 1, columns), 0)),
        )

    def _polygon(self, placed: Points, window: Window) -> Image:
        mask = np.zeros(self.px[window].shape[:2], np.uint8)
        if mask.size:
            cv2.fillPoly(mask, [_fixed(placed, window)], 255, cv2.LINE_AA, 4)
        return mask

    def _blend(self, window: Window, mask: Image, colour: Colour, alpha: float) -> None:
        patch = self.px[window]
        weight = mask[..., None] * np.float32(min(alpha, 1) / 255)
        patch[:] = patch + (np.array(colour, np.float32) - patch) * weight


def _place(
    points: ArrayLike, smooth: bool = False, closed: bool = True, both: bool = False
) -> list[Points]:
    points = curve(points, closed) if smooth else np.asarray(points, np.float64)
    return [points * (side, 1) + (X0, 0) for side in ((-1, 1) if both else (1,))]


def _fixed(placed: Points, window: Window) -> NDArray[np.int32]:
    origin = (window[1].start + 0.5, window[0].start + 0.5)
    return np.round((placed * SCALE - origin) * 16).astype(np.int32)


def draw_background(rng: np.random.Generator) -> Image:
    """Draw a blurred room, wall, garden or stage of canvas size: gradient, objects, texture."""
    rows, columns = 55, 45  # drawn at a quarter of the frame, because it is out of focus
    base = rng.uniform(10, 235) + rng.normal(0, 14, 3)
    small = np.full((rows, columns, 3), np.clip(base, 0, 255), np.float32)
    corners = rng.normal(0, 38, (2, 2, 1)) + rng.normal(0, 12, (2, 2, 3))
    small += cv2.resize(corners.astype(np.float32), (columns, rows))
    blobs = rng.normal(0, rng.uniform(4, 26), (5, 4, 1)) + rng.normal(0, 6, (5, 4, 3))
    small += cv2.resize(blobs.astype(np.float32), (columns, rows), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(1, 9)):
        colour = tuple(np.clip(base + rng.normal(0, 60) + rng.normal(0, 16, 3), 0, 255).tolist())
        x, y = int(rng.integers(-6, columns)), int(rng.integers(-6, rows))
        w, h = int(rng.integers(2, 24)), int(rng.integers(2, 40))
        kind = rng.integers(4)
        if kind == 0:
            cv2.rectangle(small, (x, y), (x + w, y + h), colour, -1)
        elif kind == 1:
            cv2.circle(small, (x, y), w // 2 + 1, colour, -1)
        elif kind == 2:
            cv2.line(small, (x, 0), (x + w - 12, rows), colour, int(rng.integers(1, 7)))
        else:
            for k in range(0, columns, max(w // 2, 3)):
                cv2.line(small, (k, y), (k + w // 4, y + h), colour, 1)
    small = blur(small, float(rng.choice([0.6, 1.0, 1.8, 3.5])))
    size = (round(WIDTH_PX * SCALE), round(HEIGHT_PX * SCALE))
    big = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)
    rough = cv2.resize(grain(rng, 72, 60), size) * np.float32(rng.choice([0, 2, 5, 9]))
    return cv2.add(big, cv2.merge([rough] * 3)).clip(0, 255).astype(np.uint8)


class Portrait:
    """One face: geometry of the person, cues (0 absent to 1 strong) and chance of the picture."""

    def __init__(self, shape: Mapping[str, float], cues: Cues, rng: np.random.Generator) -> None:
        self.g, self.c, self.rng = shape, cues, rng
        g, c = shape, cues
        self.canvas = Canvas(draw_background(rng))
        male, chubby, oval, pale = c["Male"], c["Chubby"], c["Oval_Face"], c["Pale_Skin"]
        self.half = 40.5 + 1.0 * g["width"] + 9.0 * chubby + 1.5 * male - 4.5 * oval
        self.chin = 170 + 1.8 * g["height"] + 1.5 * male + 6.0 * oval - 1.0 * chubby
        self.power = 2.2 + 0.1 * g["jaw"] + 0.45 * male + 0.4 * chubby - 0.35 * oval
        self.eye_x = 19.5 + 0.7 * g["eye_gap"]
        self.mouth_y = 149.5 + 0.9 * g["mouth_y"]
        self.old = 1 - c["Young"]
        self.nose = 1 + 0.06 * g["nose_width"] + 0.6 * c["Big_Nose"] - 0.4 * c["Pointy_Nose"]
        self.tip = 133 + g["nose_length"] + 2.5 * c["Big_Nose"] + 4.0 * c["Pointy_Nose"]
        tone = np.clip(2.4 + 1.2 * g["tone"], 1.5, 5) * (1 - pale)
        skin = np.array([np.interp(tone, range(6), SKINS[:, k]) for k in range(3)])
        skin += np.array([3, 0, -4]) * g["warmth"] + pale * np.array([6, 30, 52])
        self.skin = np.clip(skin, 0, 252)
        self.light = rng.uniform(-0.6, 0.6), rng.uniform(-0.55, 0.0)
        self.hair = self._hair_colour()

    def _hair_colour(self) -> NDArray[np.float64]:
        weight = np.array([self.c[name] ** 2 if name else 0.12 for name in HAIRS])
        if weight[:-1].max() < 0.3 and self.g["tone"] > 0.3:
            weight[list(HAIRS).index("Black_Hair")] += 0.03  # in doubt, dark goes with dark
        colour = weight @ np.array(list(HAIRS.values())) / weight.sum()
        colour *= self.rng.uniform(0.9, 1.1)
        return colour + (np.array([168, 168, 170]) - colour) * 0.25 * self.old

    def _pick(self, colours: Sequence[Colour]) -> Colour:
        return colours[int(self.rng.integers(len(colours)))]

    # ---- skin ------------------------------------------------------------------------------
    def outline(self, grow: float = 0) -> Points:
        """Face outline (48, 2), from the right ear over the chin, left ear and skull."""
        t = np.arange(48) * (2 * np.pi / 48)
        cos, sin = np.cos(t), np.sin(t)
        low = np.where(sin > 0, 2 / self.power, 1.0)
        x = (self.half + grow) * np.sign(cos) * np.abs(cos) ** low
        reach = np.where(sin > 0, self.chin - 114, 62.0) + grow
        return np.stack([x, 114 + reach * np.sign(sin) * np.abs(sin) ** low], 1)

    def skin_layer(self) -> Image:
        """Light the head as a relief of soft bumps; returns a canvas-sized RGB layer."""
        g, c, old, nose, tip = self.g, self.c, self.old, self.nose, self.tip
        smile, high, chubby, bags = (
            c[name] for name in ("Smiling", "High_Cheekbones", "Chubby", "Bags_Under_Eyes")
        )
        bumps = [  # x from the middle (both sides unless 0), y, width, height, relief
            (0, 114, self.half * 0.85, 48, 46), (0, 206, 18, 24, 16), (0, 84, 26, 15, 5),
            (0, 119, 4.2 * nose, 12, 5.5), (0, tip, 5.6 * nose, 4.8, 7 + 3 * c["Pointy_Nose"]),
            (6.8 * nose, tip + 1, 3.4 * nose, 3.2, 4.2),
            (self.eye_x, 110, 9, 6, -4.5), (17, 101, 12, 4, 1.5 + 2 * c["Male"]),
            (25, 130 - 2 * smile, 9, 7.5, 2 + 6 * high + 2.5 * smile),
            (28, 147, 6.5, 7, 4.5 * chubby - 4.5 * high - 0.8), (0, self.mouth_y, 12, 6, 3.5),
            (0, self.chin - 7, 8 + 2 * c["Male"], 5, 3.5 + g["chin"]),
            (18, 143, 2.6, 7, -1.4 * old - 1.2 * smile - 0.5 * chubby), (0, 142, 1.8, 3, -1.0),
            (0, self.chin + 7, 19, 4.0, 11 * c["Double_Chin"]),
            (self.eye_x, 119.5, 7.5, 2.3, 4.5 * bags),
        ]  # fmt: skip
        both = [(s * x, *rest) for x, *rest in bumps for s in ((1, -1) if x else (1,))]
        x, y, wx, wy, height = (np.array(v, np.float32)[:, None] for v in zip(*both, strict=True))
        grid_x, grid_y = (np.arange(n, dtype=np.float32) * 2 + 1 for n in (89, 109))
        bell_x = np.exp(-(((grid_x - X0 - x) / wx) ** 2) / 2)
        bell_y = np.exp(-(((grid_y - y) / wy) ** 2) / 2) * height
        slope_x = bell_y.T @ (bell_x * (X0 + x - grid_x) / wx**2)
        slope_y = (bell_y * (y - grid_y) / wy**2).T @ bell_x
        steep = np.sqrt(1 + slope_x**2 + slope_y**2)
        facing = (0.8 - self.light[0] * slope_x - self.light[1] * slope_y) / steep
        bright = np.clip(0.5 + 0.62 * facing, 0.2, 1.3)[..., None]
        layer = self.skin.astype(np.float32) * bright ** np.array([0.8, 1.0, 1.12], np.float32)
        makeup, red = c["Heavy_Makeup"], np.array([214, 84, 88])
        tints = [  # x, y, width, height, strength, colour
            (26, 134, 9, 7, 0.08 + 0.8 * c["Rosy_Cheeks"] + 0.1 * makeup, red),
            (0, tip, 6, 4, 0.12, red), (self.eye_x, 108, 10, 5, 0.16, self.skin * 0.45),
            (self.eye_x, 119, 9, 3.2, 0.6 * bags, np.array([96, 62, 78])),
        ]  # fmt: skip
        for tx, ty, tw, th, strength, colour in tints:
            down = np.exp(-(((grid_y - ty) / th) ** 2) / 2)
            for side in (1, -1) if tx else (1,):
                across = np.exp(-(((grid_x - X0 - side * tx) / tw) ** 2) / 2) * strength
                layer += np.outer(down, across)[..., None].astype(np.float32) * (colour - layer)
        # Highlights where skin faces the light: forehead, nose, cheeks.
        layer += (60 * np.clip(facing - 0.88, 0, 1) * (1 + makeup))[..., None]
        layer += grain(self.rng, 109, 89)[..., None] * (1.5 + 2.5 * old)
        rows, columns = self.canvas.px.shape[:2]
        return cv2.resize(layer.clip(0, 255).astype(np.uint8), (columns, rows))

    def draw_body(self, layer: Image) -> None:
        """Draw the neck and the clothes; with a necktie, a shirt and a jacket."""
        g, c, rng, canvas = self.g, self.c, self.rng, self.canvas
        wide = 20 + 1.2 * g["neck"] + 4.5 * c["Male"] + 4 * c["Chubby"]
        neck = [(-wide, 150), (-wide, 180), (-wide - 9, 192), (-80, 212), (-80, 230)]
        canvas.layer(layer, canvas.mask(curve(neck + [(-x, y) for x, y in neck[::-1]], True)))
        canvas.fill(self.outline()[1:24] + (0, 7), shade(self.skin, 0.42), 0.55, 2.5)
        if c["Double_Chin"] > 0.2:
            fold = [(-24, self.chin - 3), (0, self.chin + 13), (24, self.chin - 3)]
            canvas.line(fold, shade(self.skin, 0.36), 3.4, 0.95 * c["Double_Chin"], 1.0)
        cloth = shade(rng.uniform(15, 225) + rng.normal(0, 45, 3), 1)
        tie = c["Wearing_Necktie"] > 0.3
        if tie:
            cloth = shade((44, 46, 56), rng.uniform(0.4, 1.6))
        drop = rng.uniform(186, 196) if tie else rng.uniform(190, 212) + 5 * (1 - c["Male"])
        slope = rng.uniform(190, 200)
        top = [(-100, slope + 14), (-62, slope + 1), (-wide - 9, 186), (-wide + 6, drop - 4)]
        line = [*top, (0.0, drop + rng.uniform(-2, 10)), *((-x, y) for x, y in top[::-1])]
        canvas.fill(np.vstack([curve(line), [(100, 240), (-100, 240)]]), cloth)
        for x in (-42, 40):
            crease = [(x, 196), (x * 0.8, 210), (x * 0.85, 224)]
            canvas.line(crease, shade(cloth, 0.6), 3, 0.5, 1.5)
        if tie:
            self._draw_tie(c["Wearing_Necktie"])
        elif rng.random() < 0.3 + 0.3 * c["Male"]:
            flap = [(wide, 181), (wide + 8, 190), (13, 207), (5, 197)]
            canvas.fill(flap, shade(cloth, 1.15, 12), both=True)

    def _draw_tie(self, strength: float) -> None:
        rng, canvas = self.rng, self.canvas
        white = shade((240, 240, 244), rng.uniform(0.85, 1.0))
        canvas.fill([(-24, 178), (24, 178), (15, 230), (-15, 230)], white)
        colour = shade(self._pick(TIES), rng.uniform(0.8, 1.3))
        tie = [(-6, 183), (6, 183), (4, 193), (9, 226), (-9, 226), (-4, 193)]
        canvas.fill(tie, colour, 0.45 + 0.55 * strength)
        canvas.line([(4, 193), (-4, 193)], shade(colour, 0.5), 1.2, smooth=False)
        if rng.random() < 0.5:
            for y in range(196, 222, 5):
                stripe = [(-6, y + 4), (6, y)]
                canvas.line(stripe, shade(colour, 1.6, 30), 1.4, 0.6, smooth=False)
        collar = [(24, 174), (3, 186), (13, 198), (28, 184)]
        canvas.fill(collar, white, both=True)
        canvas.line(collar[1:], shade(white, 0.7), 0.8, smooth=False, both=True)

    def draw_head(self, layer: Image) -> None:
        """Draw ears and face, then age and wrinkles on the skin."""
        canvas, old, y, line = self.canvas, self.old, self.mouth_y, shade(self.skin, 0.5)
        size = 10 + 0.8 * self.g["ear"]
        for s in (-1, 1):
            canvas.layer(layer, canvas.mask(ellipse(s * (self.half + 1), 120, 5.2, size)))
            inner = ellipse(s * (self.half + 2), 119, 2.4, size * 0.55)
            canvas.fill(inner, shade(self.skin, 0.55), 0.6, 0.8)
        canvas.fill(self.outline(0.8), line, 0.5, 1.0)
        canvas.layer(layer, canvas.mask(self.outline()))
        fold = [(8.5 * self.nose, self.tip), (15, self.tip + 6), (19, y - 1)]
        depth = min(0.15 + 0.75 * old + 0.35 * self.c["Smiling"], 0.8)
        canvas.line(fold, line, 1.3, depth, 0.8, both=True)
        sag = [(23, y + 3), (25, y + 9), (22, y + 14)]
        canvas.line(sag, line, 2.4, 0.8 * old, 1.2, both=True)
        for k in range(3):
            crow = [(self.eye_x + 11, 110 + 2 * k), (self.eye_x + 17, 107 + 4.5 * k)]
            canvas.line(crow, line, 1.1, 0.95 * old, 0.3, both=True)
            wrinkle = np.array([(-19, 79), (-8, 77), (3, 78.5), (18, 78)]) + (0, 7 * k)
            canvas.line(wrinkle, line, 1.7, 0.9 * old, 0.5)

    # ---- features ---------------------------------------------------------------------------
    def draw_eyes(self) -> None:
        """Draw eyes with lids, irises, catchlights, lashes, shadow and bags; then the brows."""
        g, c, rng, canvas, dark = self.g, self.c, self.rng, self.canvas, (26, 18, 18)
        wide = 8.8 + 0.4 * g["eye_size"]
        tall = (4.9 + 0.3 * g["eye_size"]) * (1 - 0.8 * c["Narrow_Eyes"]) - 0.4 * c["Smiling"]
        tilt = 0.5 * g["eye_tilt"] + 0.5
        makeup, lash, bags = c["Heavy_Makeup"], 1 - c["Male"], c["Bags_Under_Eyes"]
        iris = shade(IRISES[int(abs(g["iris"]) * 2.6) % 6], rng.uniform(0.85, 1.25))
        gaze = rng.normal(0, 1.1)
        shadow = self._pick(EYE_SHADOWS)
        upper = [(-wide, 1), (-wide / 2, -tall * 0.72), (0, -tall), (wide * 0.55, -tall * 0.7)]
        lower = [(wide, -tilt), (wide * 0.55, tall * 0.5), (0, tall * 0.66), (-5, tall * 0.5)]
        glint = -1.5 if self.light[0] < 0 else 1.5
        for s in (-1, 1):
            centre = np.array([s * self.eye_x, EYE_Y])
            almond = curve(upper + lower, True) * (s, 1) + centre
            lid = curve(upper + lower[:1]) * (s, 1) + centre
            if makeup > 0.1:
                puff = np.vstack([lid, (lid * (1, 0.9) + (0, EYE_Y * 0.1 - 6))[::-1]])
                canvas.fill(puff, shadow, 0.75 * makeup, 1.2)
            canvas.line(lid - (0, 3.2), shade(self.skin, 0.45), 1, 0.5, 0.4, smooth=False)

            def paint(centre: Points = centre, almond: Points = almond, lid: Points = lid) -> None:
                x, y = centre + (gaze, -0.4)
                canvas.fill(almond, (228, 224, 222))
                canvas.fill(ellipse(x, y, 4.4, 4.4), shade(iris, 0.5))
                canvas.fill(ellipse(x, y + 0.5, 3.5, 3.4), iris, 1, 0.5)
                canvas.fill(ellipse(x, y, 1.8, 1.8), (14, 12, 14))
                canvas.line(lid + (0, 1), (60, 40, 40), 2, 0.5, 0.7, smooth=False)
                canvas.fill(ellipse(x + glint, y - 1.6, 1.1, 1.1, 8), (255, 255, 255), 0.95)

            canvas.inside(almond, paint)
            heavy = 1 + 0.5 * lash + 0.9 * makeup + 2.2 * c["Narrow_Eyes"]
            canvas.line(lid, dark, heavy, 0.65 + 0.3 * lash, smooth=False)
            if lash > 0.5 or makeup > 0.3:
                wing = np.array([(wide - 2, -2), (wide + 2.5, -3 - tilt)]) * (s, 1) + centre
                canvas.line(wing, (24, 16, 18), 1.2, 0.4 + 0.5 * makeup, smooth=False)
            if bags > 0.15:
                pouch = [(-7, tall * 0.7 + 2.5), (0, tall * 0.66 + 5.5), (8, tall * 0.5 + 2.5)]
                violet = shade(self.skin * (0.9, 0.8, 0.9), 0.5)
                canvas.line(np.array(pouch) * (s, 1) + centre, violet, 1.6, 0.8 * bags, 0.6)
            self._draw_brow(s)

    def _draw_brow(self, s: int) -> None:
        g, c, x = self.g, self.c, self.eye_x
        bushy, arched, male = c["Bushy_Eyebrows"], c["Arched_Eyebrows"], c["Male"]
        y = 99 + 0.8 * g["brow_y"] + 1.2 * male - 1.8 * arched
        inner, middle = (x - 11 + bushy, y + 2 + arched), (x - 2, y - 0.5 - 1.5 * arched)
        peak, end = (x + 6, y - 1 - 3.4 * arched), (x + 13, y + 3.0 + g["brow_tilt"] * 0.5)
        spine = curve([inner, middle, peak, end])
        along = np.linspace(0, 1, len(spine))
        thick = 1.4 + 0.4 * male + 3.4 * bushy
        half = np.stack([0 * along, thick * np.interp(along, [0, 0.35, 1], [0.9, 1, 0.15])], 1)
        colour = shade(np.minimum(self.hair * 0.62, 105), 1, -8 * bushy)
        band = np.vstack([spine - half, (spine + half)[::-1]]) * (s, 1)
        self.canvas.fill(band, colour, 0.62 + 0.33 * bushy, 0.5)
        for k in range(1, len(spine) - 1, 2):
            start = spine[k] + half[k]
            hair = np.array([start, start + (2.2, -2.2 * half[k, 1] - 0.6 * bushy)]) * (s, 1)
            alpha = 0.35 + 0.5 * bushy * self.rng.random()
            self.canvas.line(hair, colour, 0.7, alpha, smooth=False)

    def draw_nose(self) -> None:
        """Draw nostrils, wings and the shadow below; the relief is in the skin."""
        canvas, wide, tip, pointy = self.canvas, self.nose, self.tip, self.c["Pointy_Nose"]
        dark = shade(self.skin, 0.38)
        side = 1 if self.light[0] > 0 else -1
        bridge = [(side * 4.5 * wide, 108), (side * 3.4 * wide, 120), (side * 6.5 * wide, tip - 2)]
        canvas.line(bridge, dark, 1.6, 0.28 + 0.12 * pointy, 1.2)
        wing = [(7.2 * wide, tip - 3.5), (9.6 * wide, tip + 1.5), (7.0 * wide, tip + 5)]
        for s in (-1, 1):
            hole = ellipse(s * 3.9 * wide, tip + 4.4 - 0.8 * pointy, 2.1 * wide, 1.1, 10)
            canvas.fill(hole, shade(dark, 0.6), 0.8, 0.4)
            canvas.line(np.array(wing) * (s, 1), dark, 1.1, 0.4 + 0.4 * self.c["Big_Nose"], 0.4)
        under = [(-6 * wide, tip + 5), (0, tip + 7 + pointy), (6 * wide, tip + 5)]
        canvas.line(under, dark, 1.6, 0.4, 1.0)
        if pointy > 0.2:
            canvas.line([(0, 112), (0, tip - 2)], shade(self.skin, 1.2, 25), 1.8, 0.5 * pointy, 0.8,
                        smooth=False)  # fmt: skip
            canvas.fill([(-3.4, tip + 4), (3.4, tip + 4), (0, tip + 9)], dark, 0.6 * pointy, 0.7)

    def draw_mouth(self) -> None:
        """Draw lips, teeth and the dark of an open mouth."""
        g, c, rng, canvas = self.g, self.c, self.rng, self.canvas
        smile, big, lipstick = c["Smiling"], c["Big_Lips"], c["Wearing_Lipstick"]
        gap = max(7.5 * c["Mouth_Slightly_Open"] - 0.8, 0)
        wide = 14.5 + 0.8 * g["mouth_width"] + 5.0 * smile + 0.5 * c["Male"] - 0.5 * big
        top = 2.2 + 0.3 * g["lip"] + 3.2 * big - 0.6 * smile - 0.6 * self.old
        low = 3.3 + 0.4 * g["lip"] + 4.4 * big - 0.6 * smile - 0.8 * self.old
        lift, mid = -4.6 * smile + 0.8, wide * 0.5
        seam = self.mouth_y + 1.8 * smile - gap * 0.35
        bottom = seam + gap
        left, right = ((s * wide, self.mouth_y + lift) for s in (-1, 1))

        def level(y: float, middle: float) -> list[tuple[float, float]]:
            return [(-mid, y + lift * 0.25), (0, middle), (mid, y + lift * 0.25)]

        ridge = [(-3, seam - top * 1.1), (0, seam - top * 0.8), (3, seam - top * 1.1)]
        crest, under = level(seam - top, 0), level(seam + 0.4, seam + 0.6)[::-1]
        upper = [left, crest[0], *ridge, crest[2], right, *under]
        rim = bottom + low * 0.85 + lift * 0.2
        chin_side = [(mid, rim), (0, bottom + low), (-mid, rim)]
        lower = [left, *level(bottom, bottom + 0.5), right, *chin_side]
        stick = np.array(self._pick(LIPSTICKS)) * rng.uniform(0.9, 1.1)
        natural = self.skin * (0.86, 0.66, 0.66) + (8, 0, 2)
        lips = natural + (stick - natural) * min(0.95 * lipstick, 1)
        if gap > 0:
            floor = level(bottom + 1, bottom + 1)[::-1]
            hole = curve([left, *under[::-1], right, *floor], True)

            def paint() -> None:
                canvas.fill(hole, (62, 16, 20))
                depth = min(gap * 0.62, 4.6) * (0.75 + 0.5 * smile)
                teeth = ellipse(0, seam - 1.0, wide * 0.86, depth + 1.0)
                canvas.fill(teeth, (242, 238, 230), 0.96, 0.3)

            canvas.inside(hole, paint)
        edge = 0.95 if lipstick > 0.4 else 0.75
        canvas.fill(lower, shade(lips, 1.06), edge, 0.45, smooth=True)
        canvas.fill(upper, shade(lips, 0.84), edge, 0.45, smooth=True)
        if gap <= 0:
            canvas.line([left, *level(seam, seam + 0.6), right], shade(lips, 0.35), 0.9, 0.9)
        gloss = [(-4, bottom + low * 0.45), (0, bottom + low * 0.55), (4, bottom + low * 0.45)]
        canvas.line(gloss, shade(lips, 1.2, 50), 1.3, 0.25 + 0.4 * lipstick, 0.5)
        shadow = [(-8, bottom + low + 2.5), (0, bottom + low + 3.4), (8, bottom + low + 2.5)]
        canvas.line(shadow, shade(self.skin, 0.5), 1.8, 0.4, 1.2)

    # ---- beard, hair, things worn -----------------------------------------------------------
    def draw_beard(self) -> None:
        """Draw stubble, full beard, goatee, mustache and sideburns; the mouth comes on top."""
        c, rng, canvas, h, y = self.c, self.rng, self.canvas, self.half, self.mouth_y
        dark = shade(np.minimum(self.hair * 0.5, 100), 1)
        inner = [(-h + 7, 122), (-30, 139), (-17, y - 8), (0, y - 10), (17, y - 8), (30, 139),
                 (h - 7, 122)]  # fmt: skip
        jaw = np.vstack([self.outline(0.5)[1:24], inner])
        stubble = c["5_o_Clock_Shadow"]
        full = max(1 - c["No_Beard"] - 0.5 * stubble - 0.6 * c["Goatee"] - 0.1, 0)
        canvas.fill(jaw, shade(self.skin * 0.4, 1, 14), 0.62 * stubble, 2.0, rough=rng)
        canvas.fill(jaw, dark, 0.72 * full, 1.6, rough=rng)
        low = self.chin - 2
        chin = [(-8, y + 6), (0, y + 7), (8, y + 6), (15, y - 2), (18, y + 4), (14, low),
                (0, low + 6), (-14, low), (-18, y + 4), (-15, y - 2)]  # fmt: skip
        canvas.fill(chin, dark, 0.95 * c["Goatee"], 1.0, smooth=True, rough=rng)
        lip = [(-23, y + 4), (-13, y - 9), (-3, y - 11.5), (3, y - 11.5), (13, y - 9), (23, y + 4),
               (11, y - 1), (0, y - 2.5), (-11, y - 1)]  # fmt: skip
        canvas.fill(lip, dark, c["Mustache"], 0.6, smooth=True, rough=rng)
        strip = [(h + 1, 98), (h + 1, 128), (h - 4, 148), (h - 14, 146), (h - 13, 98)]
        canvas.fill(strip, dark, c["Sideburns"], 0.8, both=True, rough=rng)

    def hair_layer(self) -> Image:
        """Comb streaks of light and dark along the head; waves bend them."""
        g, rng, straight = self.g, self.rng, self.c["Straight_Hair"]
        rows, columns = self.canvas.px.shape[:2]
        y = (np.arange(rows, dtype=np.float32) / SCALE)[:, None]
        x = (np.arange(columns, dtype=np.float32) / SCALE - X0)[None]
        wave = self.c["Wavy_Hair"] * (1 - 0.5 * straight) + 0.12 * (1 - straight)
        reach = np.sqrt(np.clip(1 - ((np.minimum(y, 100) - 100) / 66) ** 2, 0.03, 1))
        phase = y * np.float32(0.24 + 0.03 * g["curl"]) + np.abs(x) * 0.06 + rng.uniform(0, 6)
        bend = np.sin(phase)
        u = (x - 8 * g["part"] * (1 - reach)) / reach * 1.6 + 9 * wave * bend
        u = (256 + rng.uniform(-90, 90) + u).astype(np.float32)
        v = np.repeat(y * np.float32(0.5) + np.float32(rng.uniform(0, 300)), columns, 1)
        streaks = cv2.remap(_streaks(), u, v, cv2.INTER_LINEAR)
        ring = np.exp(-(((y - 62 - 0.004 * x**2) / 9) ** 2)) * (0.2 + 0.25 * straight)
        value = 0.86 + 0.17 * streaks + ring + (0.26 * wave) * bend + x * (self.light[0] * 0.006)
        index = (value * 128).clip(0, 255).astype(np.uint8)
        level = np.arange(256)[:, None] / 128
        table = (self.hair + 10) * level**1.2 + 55 * np.clip(level - 1, 0, 1)
        return cv2.LUT(cv2.merge([index] * 3), table.clip(0, 255).astype(np.uint8)[None])

    def hair_shape(self) -> tuple[Points, Points]:
        """Return the hair's outer outline and the opening for face, neck and body."""
        g, c, rng, h = self.g, self.c, self.rng, self.half
        male, wavy, bangs, recede = (
            c[name] for name in ("Male", "Wavy_Hair", "Bangs", "Receding_Hairline")
        )
        length = 178 + 22 * g["length"] - 85 * (male > 0.5) + 12 * (wavy + c["Straight_Hair"])
        self.long = length > 138
        side = 3.5 + 1.2 * abs(g["volume"]) + 8 * wavy * (1 - 0.5 * male)
        side = max(side + 5 * self.long - 2 * c["Straight_Hair"], 2)
        rise = max(5 + 2.5 * g["volume"] + 4 * wavy - 5 * recede, 1)
        t = np.linspace(0, np.pi, 15)
        dome = np.stack([(h + side) * np.cos(t), 102 - (51 + rise) * np.sin(t)], 1)
        if self.long:
            length = min(max(length, 150), 232)
            ys = np.linspace(108, length, 10)
            flare = side + 6 * wavy + np.interp(ys, [108, 150, 230], [0, 3, 1])
            xs = h + flare + (1 + 3.2 * wavy) * np.sin(ys * 0.24 + rng.uniform(0, 6))
            down = np.vstack([np.stack([xs, ys], 1), [(24, length + 3)]])
        else:
            down = np.array([(h + side * 0.7, 112), (h - 1, 119)])
        outer = np.vstack([dome, down * (-1, 1), down[::-1]])
        line = 67 + 2 * g["hairline"] - 2 * male
        part, sweep = 14 * g["part"], 9 * (1 - male) * (1 - recede)
        brow = [line + 7 + sweep * over for over in (part > 0, part <= 0)]
        points = np.array([(-h + 2, 112), (-h + 5, 95), (-h * 0.62, brow[0]), (part, line - 3),
                           (h * 0.62, brow[1]), (h - 5, 95), (h - 2, 112)])  # fmt: skip
        if recede > 0.15:
            points[[2, 4], 1] -= (22 + sweep) * recede
            points[[1, 5], 1] -= 17 * recede
            points[3, 1] += 2 - 7 * recede
        if bangs > 0.2:
            xs = np.linspace(-h + 4, h - 4, 13)
            fringe = 66 + 28 * min(bangs + 0.1, 1) + rng.uniform(-3.5, 3.5, 13) + 0.006 * xs**2
            points = np.vstack([points[:1], np.stack([xs, fringe], 1), points[-1:]])
        low = np.array([(h - 1.5, 130), (h - 4, 148), (27, 176), (31, 235)])
        return curve(outer, True), np.vstack([curve(points), low, (low * (-1, 1))[::-1]])

    def draw_hat(self) -> None:
        """Draw a beanie, a cap or a hat with a brim."""
        rng, canvas, strength = self.rng, self.canvas, self.c["Wearing_Hat"]
        if strength < 0.3:
            return
        colour = shade(rng.uniform(20, 220) + rng.normal(0, 45, 3), 1)
        h, kind, y = self.half + 6, rng.integers(3), 84.0 - 6 * (1 - strength)
        crown = [(-h, y + 6), (-h, y - 14), (-h * 0.8, 44), (-h * 0.3, 32), (h * 0.3, 32),
                 (h * 0.8, 44), (h, y - 14), (h, y + 6), (h * 0.5, y), (-h * 0.5, y)]  # fmt: skip
        dome = curve(crown, True)
        canvas.fill(dome + (0, 7), (20, 14, 14), 0.4, 3)
        canvas.fill(dome, colour)

        def paint() -> None:
            side = -1 if self.light[0] < 0 else 1
            canvas.fill(ellipse(-side * 44, 60, 30, 60), shade(colour, 0.55), 0.7, 9)
            canvas.fill(ellipse(side * 20, 50, 16, 20), shade(colour, 1.2, 25), 0.5, 6)
            for x in range(-48, 50, 6 if kind == 0 else 24):
                rib = [(x * 0.4, 30), (x * 0.9, 56), (x, 96)]
                canvas.line(rib, shade(colour, 0.7), 1.2, 0.5, 0.4)

        canvas.inside(dome, paint)
        if kind == 0:
            cuff = [(-h - 1, y + 9), (0, y + 2), (h + 1, y + 9),
                    (h + 1, y - 7), (0, y - 14), (-h - 1, y - 7)]  # fmt: skip
            canvas.fill(cuff, shade(colour, 0.85, 6), smooth=True)
        elif kind == 1:
            visor = [(-h + 6, y), (-30, y - 7), (0, y - 9), (30, y - 7),
                     (h - 6, y), (28, y + 8), (0, y + 11), (-28, y + 8)]  # fmt: skip
            canvas.fill(visor, shade(colour, 0.7), smooth=True)
            canvas.line(visor[4:] + visor[:1], shade(colour, 1.3, 20), 1)
        else:
            canvas.fill(ellipse(0, y + 1, h + 26, 10, 32), shade(colour, 0.75))
            canvas.fill(ellipse(0, y - 4, h + 22, 6, 32), colour)
            ribbon = [(-h, y - 2), (0, y + 2), (h, y - 2), (h, y - 14), (0, y - 10), (-h, y - 14)]
            canvas.fill(ribbon, shade(colour, 0.35), smooth=True)

    def draw_glasses(self) -> None:
        """Draw spectacles or sunglasses."""
        rng, canvas, strength, x = self.rng, self.canvas, self.c["Eyeglasses"], self.eye_x
        if strength < 0.15:
            return
        frame, alpha = self._pick(FRAMES), 0.4 + 0.6 * strength
        rx, ry, square = rng.uniform(13.5, 16.5), rng.uniform(9, 13), rng.uniform(2, 3.6)
        thick, dark = rng.uniform(2.4, 4.0), rng.random() < 0.4
        circle = ellipse(0, 0, 1, 1, 28)[[*range(28), 0]]
        rim = np.abs(circle) ** (2 / square) * np.sign(circle) * (rx, ry)
        for s in (-1, 1):
            lens = rim + (s * (x + 1), 112.5)
            canvas.fill(lens, (22, 20, 26) if dark else (215, 225, 235), 0.88 if dark else 0.14)
            glare = np.array([(-7, 4), (2, -7), (5, -7), (-4, 4)]) + (s * x, 112)
            canvas.fill(glare, (255, 255, 255), 0.22, 0.6)
            canvas.line(lens, frame, thick, alpha, smooth=False)
        arm = [(x + rx, 110), (self.half + 3, 107)]
        canvas.line(arm, frame, thick, alpha, smooth=False, both=True)
        bridge = [(-x + rx - 1.5, 111), (0, 108.5), (x - rx + 1.5, 111)]
        canvas.line(bridge, frame, thick, alpha)

    def draw_jewels(self) -> None:
        """Draw earrings at the lobes: studs, hoops or drops."""
        rng, canvas, strength = self.rng, self.canvas, self.c["Wearing_Earrings"]
        if strength < 0.15:
            return
        metal = self._pick(EARRINGS)
        kind, size = rng.integers(3), rng.uniform(3.8, 5.6) * (0.55 + 0.6 * strength)
        for x in (-self.half - 2.5, self.half + 2.5):
            if kind == 0:
                canvas.fill(ellipse(x, 131, size, size, 12), metal)
            elif kind == 1:
                ring = ellipse(x, 131 + 1.9 * size, 1.5 * size, 2 * size)
                canvas.line(np.vstack([ring, ring[:1]]), metal, 1.5, smooth=False)
            else:
                canvas.line([(x, 131), (x, 131 + 3 * size)], metal, 1.3, smooth=False)
                canvas.fill(ellipse(x, 131 + 3.6 * size, size, 1.5 * size, 12), metal)
            canvas.fill(ellipse(x - 0.8, 130.2, 1, 1, 8), (255, 255, 250), 0.9)

    def draw_necklace(self) -> None:
        """Draw a chain with beads or a pendant on the neck."""
        rng, canvas, strength = self.rng, self.canvas, self.c["Wearing_Necklace"]
        if strength < 0.15:
            return
        metal, depth = self._pick(NECKLACES), rng.uniform(186, 200)
        chain = curve([(-21, 176), (-16, depth - 8), (0, depth), (16, depth - 8), (21, 176)])
        canvas.line(chain + (0, 1.2), shade(self.skin, 0.5), 1.5, 0.6, smooth=False)
        canvas.line(chain, metal, 2.8 + 1.6 * strength, 0.55 + 0.45 * strength, smooth=False)
        if rng.random() < 0.5:
            for x, y in chain[::2]:
                canvas.fill(ellipse(x, y, 2 + strength, 2 + strength, 8), metal)
        else:
            canvas.fill(ellipse(0, depth + 4, 4 + strength, 5 + strength, 12), metal)

    def draw(self) -> Image:
        """Draw everything from back to front; returns the canvas, before pose and light."""
        canvas, bald = self.canvas, self.c["Bald"] > 0.3
        skin, hair = self.skin_layer(), self.hair_layer()
        outer, opening = self.hair_shape()
        if self.long and not bald:
            canvas.layer(hair // 2, canvas.mask(outer))
        self.draw_body(skin)
        self.draw_necklace()
        self.draw_head(skin)
        self.draw_beard()
        self.draw_nose()
        self.draw_mouth()
        self.draw_eyes()
        if bald:
            shine = ellipse(18 * self.light[0], 66, 17, 8)
            canvas.fill(shine, shade(self.skin, 1.1, 50), 0.75, 4)
        else:
            mask = cv2.subtract(canvas.mask(outer), canvas.mask(opening))
            cast = blur(np.roll(mask, round(4 * SCALE), 0), 2.5 * SCALE)
            canvas.layer(canvas.px // 2, cast // 2)
            canvas.layer(hair, blur(mask, 0.5 * SCALE))
        self.draw_hat()
        self.draw_glasses()
        self.draw_jewels()
        return canvas.px


def take_photograph(px: Image, blurry: float, rng: np.random.Generator) -> Image:
    """Pose, light, focus and film: canvas in, (218, 178, 3) uint8 RGB out."""
    x = np.arange(WIDTH_PX, dtype=np.float32)[None] - X0
    y = np.arange(HEIGHT_PX, dtype=np.float32)[:, None] - EYE_Y
    yaw, pitch = np.clip(rng.normal(0, 3, 2), -7, 7)
    head = np.exp(-((x / 40) ** 2) / 2) * np.exp(-(((y - 8) / 48) ** 2) / 2)
    nose = np.exp(-((x / 11) ** 2) / 2) * np.exp(-(((y - 20) / 14) ** 2) / 2)
    turn, zoom = np.deg2rad(rng.normal(0, 1.6)), 1 / rng.uniform(1.05, 1.12)
    cos, sin = np.float32(zoom * np.cos(turn)), np.float32(zoom * np.sin(turn))
    dx, dy = rng.normal(0, 0.8, 2)
    map_x = (x * cos - y * sin - yaw * (head + 0.35 * nose) + (X0 + dx)) * SCALE
    map_y = (x * sin + y * cos - 0.7 * pitch * (head + 0.35 * nose) + (EYE_Y + dy)) * SCALE
    flat = cv2.remap(px, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR,
                     borderMode=cv2.BORDER_REFLECT)  # fmt: skip
    focus = rng.choice([0.0, 0.4, 0.7]) if blurry < 0.2 else 1.5 + 1.6 * blurry
    flat = blur(flat, focus)
    corners = rng.normal(1, 0.08, (2, 2)) * rng.uniform(0.92, 1.06)
    light = cv2.resize(corners.astype(np.float32), (WIDTH_PX, HEIGHT_PX))
    warmth = rng.normal(0, 0.03)
    film = flat * light[..., None] * np.array([1 + warmth, 1, 1 - warmth], np.float32)
    contrast = np.float32(rng.uniform(0.94, 1.08))
    film = (film - 120) * contrast + 120
    film += grain(rng, HEIGHT_PX, WIDTH_PX)[..., None] * np.float32(rng.uniform(0, 3))
    return film.clip(0, 255).astype(np.uint8)


def draw_portrait(shape: Mapping[str, float], cues: Cues, rng: np.random.Generator) -> Image:
    """Draw one person's face; returns (218, 178, 3) uint8 RGB."""
    return take_photograph(Portrait(shape, cues, rng).draw(), cues["Blurry"], rng)


def draw_faceless(rng: np.random.Generator) -> Image:
    """Draw a picture without a face; returns (218, 178, 3) uint8 RGB."""
    return take_photograph(draw_background(rng), 0.0, rng)
