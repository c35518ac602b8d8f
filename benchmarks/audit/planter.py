"""Plant copies of real pictures: what people do to a picture before it turns up a second time.

The kinds named in DEV_KINDS at strengths below HELD_OUT were seen while the audit's thresholds were
chosen; stronger copies and the other kinds were not. Not the demo's planter: no code is shared.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Change = Callable[[Image.Image, float, np.random.Generator], Image.Image]

HELD_OUT = 0.75  # strengths of at least this are for the exam only


def _flip_coin(rng: np.random.Generator) -> int:
    return -1 if rng.random() < 0.5 else 1


def resize(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Both sides by 0.45 to 1.8."""
    scale = 1 - 0.55 * strength if rng.random() < 0.5 else 1 + 0.8 * strength
    return image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)


def brightness(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """By 0.6 to 1.4."""
    return ImageEnhance.Brightness(image).enhance(1 + _flip_coin(rng) * (0.1 + 0.3 * strength))


def contrast(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """By 0.6 to 1.4."""
    return ImageEnhance.Contrast(image).enhance(1 + _flip_coin(rng) * (0.1 + 0.3 * strength))


def crop(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Up to 8 % of the side from each of the four sides, at least one of them that much."""
    most = 0.02 + 0.06 * strength
    shares = rng.uniform(0, most, 4)
    shares[rng.integers(4)] = most
    left, top, right, bottom = shares
    cropped = image.crop((
        round(left * image.width), round(top * image.height),
        round((1 - right) * image.width), round((1 - bottom) * image.height),
    ))  # fmt: skip
    return cropped if rng.random() < 0.5 else cropped.resize(image.size, Image.Resampling.BICUBIC)


def rotation(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """By 1 to 5 degrees; black corners, or cropped until none is left."""
    angle = 1 + 4 * strength
    turned = image.rotate(_flip_coin(rng) * angle, Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        return turned
    cut = np.tan(np.radians(angle)) / 2
    x, y = round(image.height * cut), round(image.width * cut)
    return turned.crop((x, y, image.width - x, image.height - y))


def noise(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Gaussian, of 4 to 18 gray levels."""
    pixels = np.asarray(image, np.float64)
    noisy = pixels + rng.normal(0, 4 + 14 * strength, pixels.shape)
    return Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))


def gray(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """In gray; the strength takes the colours away by half to all."""
    return ImageEnhance.Color(image).enhance(0.5 * (1 - strength))


def watermark(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Half-transparent words across the picture, or repeated all over it."""
    layer = Image.new("L", image.size)
    draw = ImageDraw.Draw(layer)
    alpha = round(255 * (0.2 + 0.4 * strength))
    words = str(rng.choice(["SAMPLE", "stock images", "(c) 2009 agency", "PREVIEW"]))
    if rng.random() < 0.5:
        font = ImageFont.load_default(round(image.width * 0.16))
        y = rng.uniform(0.1, 0.75) * image.height
        draw.text((image.width * 0.04, y), words, alpha, font)
    else:
        font = ImageFont.load_default(round(image.width * 0.08))
        for y in range(0, image.height, round(image.height * 0.2)):
            draw.text((rng.uniform(-0.2, 0.3) * image.width, y), f"{words}   {words}", alpha, font)
    layer = layer.rotate(rng.uniform(-25, 25))
    colour = "white" if rng.random() < 0.7 else "black"
    return Image.composite(Image.new("RGB", image.size, colour), image, layer)


def border(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """A frame of one colour, 3 to 10 % of the width on each side; grown, or at the old size."""
    colour = tuple(rng.integers(0, 256, 3).tolist()) if rng.random() < 0.4 else \
        str(rng.choice(["white", "black"]))  # fmt: skip
    framed = ImageOps.expand(image, round(image.width * (0.03 + 0.07 * strength)), colour)
    return framed if rng.random() < 0.5 else framed.resize(image.size, Image.Resampling.BICUBIC)


def banner(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """An opaque strip with words over the upper or the lower 8 to 16 %."""
    image = image.copy()
    draw = ImageDraw.Draw(image)
    height = round(image.height * (0.08 + 0.08 * strength))
    top = 0 if rng.random() < 0.4 else image.height - height
    paper, ink = ("black", "white") if rng.random() < 0.5 else ("white", "darkred")
    draw.rectangle((0, top, image.width, top + height), fill=paper)
    font = ImageFont.load_default(height * 0.6)
    draw.text((image.width * 0.06, top + height * 0.15), "www.example.org", ink, font)
    return image


def gamma(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Exponent up to 1.8, or its inverse."""
    power = (1.2 + 0.6 * strength) ** _flip_coin(rng)
    return image.point([round(255 * (value / 255) ** power) for value in range(256)] * 3)


def blur(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Gaussian, of 0.8 to 2.2 pixels."""
    return image.filter(ImageFilter.GaussianBlur(0.8 + 1.4 * strength))


def sharpen(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Unsharp mask."""
    return image.filter(ImageFilter.UnsharpMask(2, round(80 + 170 * strength), 2))


def colour_cast(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """One channel more, one less, by up to 30 %."""
    gains = rng.permutation([1 + 0.1 + 0.2 * strength, 1.0, 1 - 0.1 - 0.2 * strength])
    return image.point([min(255, round(value * gain)) for gain in gains for value in range(256)])


def shift(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Moved by 3 to 9 % in some direction; the gap is black or repeats the edge."""
    angle = rng.uniform(0, 2 * np.pi)
    by = (0.03 + 0.06 * strength) * np.array([np.cos(angle), np.sin(angle)])
    x, y = np.round(by * image.size).astype(int)
    pixels = np.asarray(image)
    mode = {"mode": "edge"} if rng.random() < 0.5 else {"constant_values": 0}
    around = ((max(y, 0), max(-y, 0)), (max(x, 0), max(-x, 0)), (0, 0))
    padded = np.pad(pixels, around, **mode)
    top, left = max(-y, 0), max(-x, 0)
    return Image.fromarray(padded[top : top + image.height, left : left + image.width])


def stretch(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """One side longer than the other by up to 20 %."""
    factor = 1 + _flip_coin(rng) * (0.05 + 0.15 * strength)
    return image.resize((round(image.width * factor), image.height), Image.Resampling.BICUBIC)


def sticker(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """An opaque disc or box over 3 to 10 % of the picture."""
    image = image.copy()
    share = 0.03 + 0.07 * strength
    side = np.sqrt(share * image.width * image.height)
    x, y = rng.uniform(0, image.width - side), rng.uniform(0, image.height - side)
    draw = ImageDraw.Draw(image)
    shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
    shape((x, y, x + side, y + side), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


def vignette(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Darker towards the corners."""
    y, x = np.mgrid[-1 : 1 : image.height * 1j, -1 : 1 : image.width * 1j]
    shade = 1 - (0.2 + 0.4 * strength) * (x**2 + y**2) / 2
    mask = Image.fromarray((255 * shade).astype(np.uint8))
    return ImageChops.multiply(image, Image.merge("RGB", [mask] * 3))


def crop_reencode(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Cropped by up to 8 % and saved coarsely."""
    return Image.open(io.BytesIO(save(crop(image, strength, rng), round(60 - 40 * strength))))


def mirror_crop(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Mirrored and cropped by up to 8 %."""
    return ImageOps.mirror(crop(image, strength, rng))


def rotation_gray(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Turned by up to 5 degrees, in gray, brighter or darker."""
    return brightness(gray(rotation(image, strength, rng), 1.0, rng), strength, rng)


def small_watermark(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Half the size, with a watermark."""
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    return watermark(half, strength, rng)


def save(image: Image.Image, quality: int, kind: str = "JPEG") -> bytes:
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    image.convert("RGB").save(file, kind, quality=quality)
    return file.getvalue()


#: Kinds that were seen while fitting.
DEV_KINDS: dict[str, Change] = {
    "reencode": lambda image, strength, rng: image,
    "resize": resize,
    "brightness": brightness,
    "contrast": contrast,
    "crop": crop,
    "rotation": rotation,
    "noise": noise,
    "gray": gray,
    "mirror": lambda image, strength, rng: ImageOps.mirror(image),
    "watermark": watermark,
    "border": border,
    "banner": banner,
}
#: Kinds that no threshold was fitted to.
EXAM_KINDS: dict[str, Change] = {
    function.__name__: function
    for function in (
        gamma, blur, sharpen, colour_cast, shift, stretch, sticker, vignette,
        crop_reencode, mirror_crop, rotation_gray, small_watermark,
    )
}  # fmt: skip


def plant(image: Image.Image, kind: str, strength: float, rng: np.random.Generator) -> bytes:
    """A changed copy of a picture, as the bytes of a JPEG file.

    Args:
        image: RGB.
        kind: Name in DEV_KINDS or EXAM_KINDS.
        strength: In [0, 1]; of "reencode", quality 70 down to 15.
        rng: Chooses directions, colours, places.
    """
    changed = (DEV_KINDS | EXAM_KINDS)[kind](image, strength, rng)
    quality = round(70 - 55 * strength) if kind == "reencode" else int(rng.integers(80, 96))
    return save(changed, quality)
