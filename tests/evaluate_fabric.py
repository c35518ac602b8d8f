"""Predictions drawn for the tests of evaluate."""

import numpy as np

from stages.evaluate.part import Part

NAMES = ("Male", "Young", "Smiling", "Blurry")


def draw_part(
    seed: int, n: int = 400, name: str = "valid", shares: tuple[float, ...] = (0.5, 0.2, 0.85, 0.4)
) -> Part:
    """n pictures of about n / 4 people; 9 of 10 labels known, some probabilities equal."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, len(shares))) < shares).astype(np.uint8)
    logits = 2.0 * labels - 1 + rng.normal(size=labels.shape)
    people = rng.integers(0, max(n // 4, 1), n)
    return Part(
        name=name,
        attributes=NAMES[: len(shares)],
        image_ids=[f"{name}{row:05d}.jpg" for row in range(n)],
        identities=[None if person % 9 == 0 else str(person) for person in people],
        probs=np.round(1 / (1 + np.exp(-logits)), 2).astype(np.float32),
        labels=labels,
        mask=rng.random(labels.shape) < 0.9,
        majority=(np.array(shares) > 0.5).astype(np.uint8),
    )
