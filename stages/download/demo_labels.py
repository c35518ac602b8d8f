"""Who is in the demo pictures: 40 labels, an identity and a partition for every image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

# Attribute, prevalence in percent, loadings on five latent factors (smile, waves, dark hair, age,
# femininity) and the share of the rest that a person keeps from image to image. Fitted to the
# phi coefficients of CelebA's list_attr_celeba.txt (202,599 images; rms error 0.03) and, for the
# last column and KEPT_FACTORS, to the agreement of images of one identity_CelebA.txt identity.
MODEL = (
    ("5_o_Clock_Shadow", 11.2, 0.00, -0.34, -0.06, -0.16, -0.91, 0.00),
    ("Arched_Eyebrows", 26.7, 0.11, 0.21, 0.44, -0.20, 0.59, 0.57),
    ("Attractive", 51.3, 0.25, -0.03, 0.19, -0.75, 0.28, 0.70),
    ("Bags_Under_Eyes", 20.8, 0.26, -0.14, 0.05, 0.46, -0.37, 0.41),
    ("Bald", 2.5, 0.04, 0.03, -0.10, 0.60, -0.31, 0.88),
    ("Bangs", 16.0, 0.01, -0.01, -0.10, -0.16, 0.28, 0.65),
    ("Big_Lips", 24.3, -0.01, 0.28, 0.46, 0.05, 0.25, 1.00),
    ("Big_Nose", 23.7, 0.26, 0.01, 0.20, 0.63, -0.40, 0.76),
    ("Black_Hair", 28.9, 0.03, -0.22, 0.77, -0.04, -0.23, 0.03),
    ("Blond_Hair", 20.2, -0.01, -0.16, -0.26, -0.04, 0.72, 0.71),
    ("Blurry", 5.2, -0.32, 0.02, -0.24, 0.24, -0.01, 0.19),
    ("Brown_Hair", 26.2, 0.10, 0.26, -0.41, -0.47, -0.08, 0.33),
    ("Bushy_Eyebrows", 14.5, 0.10, -0.18, 0.41, -0.07, -0.46, 0.65),
    ("Chubby", 5.9, 0.01, 0.10, 0.18, 0.86, -0.22, 0.12),
    ("Double_Chin", 4.8, 0.15, 0.01, 0.15, 0.91, -0.13, 0.00),
    ("Eyeglasses", 6.4, -0.24, -0.01, -0.22, 0.48, -0.22, 0.61),
    ("Goatee", 6.3, -0.14, 0.46, 0.18, 0.22, -0.78, 0.32),
    ("Gray_Hair", 6.3, 0.15, -0.12, -0.59, 0.73, -0.11, 0.00),
    ("Heavy_Makeup", 39.1, 0.23, 0.16, 0.14, -0.53, 0.77, 0.00),
    ("High_Cheekbones", 45.2, 0.84, 0.04, 0.02, 0.06, 0.33, 0.57),
    ("Male", 40.5, -0.12, -0.18, -0.06, 0.42, -0.86, 1.00),
    ("Mouth_Slightly_Open", 48.3, 0.70, 0.03, -0.03, 0.13, 0.13, 0.15),
    ("Mustache", 4.1, -0.14, 0.28, 0.20, 0.33, -0.69, 0.75),
    ("Narrow_Eyes", 11.6, 0.13, 0.09, 0.14, 0.23, 0.03, 0.42),
    ("No_Beard", 85.3, 0.12, -0.17, -0.10, -0.15, 0.95, 0.00),
    ("Oval_Face", 28.1, 0.34, -0.09, -0.09, -0.31, 0.10, 0.48),
    ("Pale_Skin", 4.3, -0.28, -0.05, 0.02, -0.17, 0.20, 0.31),
    ("Pointy_Nose", 27.6, 0.09, 0.06, 0.03, -0.34, 0.26, 0.64),
    ("Receding_Hairline", 9.9, 0.13, -0.01, -0.13, 0.53, -0.09, 0.53),
    ("Rosy_Cheeks", 6.5, 0.51, 0.08, 0.10, -0.26, 0.54, 0.22),
    ("Sideburns", 5.7, -0.14, 0.31, 0.06, 0.08, -0.82, 0.35),
    ("Smiling", 47.9, 0.97, 0.00, -0.03, 0.09, 0.16, 0.00),
    ("Straight_Hair", 23.5, -0.04, -0.98, 0.09, -0.02, 0.06, 1.00),
    ("Wavy_Hair", 34.4, 0.10, 0.58, -0.05, -0.31, 0.32, 0.62),
    ("Wearing_Earrings", 18.7, 0.24, 0.17, 0.19, -0.07, 0.59, 0.38),
    ("Wearing_Hat", 5.0, -0.26, 0.09, -0.10, 0.19, -0.26, 0.55),
    ("Wearing_Lipstick", 47.9, 0.20, 0.19, 0.14, -0.47, 0.81, 1.00),
    ("Wearing_Necklace", 12.1, 0.06, 0.19, 0.14, 0.04, 0.56, 0.25),
    ("Wearing_Necktie", 7.3, 0.02, -0.31, -0.16, 0.54, -0.38, 0.30),
    ("Young", 77.8, -0.06, -0.08, 0.34, -0.76, 0.13, 1.00),
)
ATTRIBUTES = tuple(row[0] for row in MODEL)
KEPT_FACTORS = np.array([0.35, 0.47, 1.00, 0.86, 0.98])
COLUMN = {name: k for k, name in enumerate(ATTRIBUTES)}
PARTITION_SHARES = (0.65, 0.10, 0.25)  # train, valid, test
MAX_PERSON_IMAGES = 30

HAIR_COLOURS = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
HAIR_SHAPES = ("Straight_Hair", "Wavy_Hair")
BEARDS = ("5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns")
# How often the rule holds, the attribute that wins, those that then cannot be.
EXCLUSIONS = (
    (1.00, "Bald", ("Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", *HAIR_SHAPES)),
    (0.93, "Wearing_Hat", ("Bald", "Bangs", "Receding_Hairline", *HAIR_COLOURS, *HAIR_SHAPES)),
    (1.00, "Bangs", ("Receding_Hairline",)),
    (0.98, "Goatee", ("No_Beard",)),
    (0.97, "Mustache", ("No_Beard",)),
    (0.98, "Sideburns", ("No_Beard",)),
)
# Logit weights of 'Attractive' (logistic regression on the other labels of CelebA, accuracy 79 %).
ATTRACTIVE = {
    "Young": 1.5, "Wearing_Lipstick": 1.0, "Heavy_Makeup": 0.9, "Smiling": 0.5, "Pale_Skin": 0.8,
    "Oval_Face": 0.5, "Pointy_Nose": 0.5, "Big_Nose": -0.4, "Eyeglasses": -1.2, "Chubby": -1.8,
    "Double_Chin": -0.8, "Gray_Hair": -1.8, "Receding_Hairline": -0.9, "Bald": -1.6, "Blurry": -1.7,
}  # fmt: skip


@dataclass(frozen=True)
class People:
    """Labels (N, 40) bool, identity (N,) from 1 and partition (N,) 0, 1 or 2 of N images."""

    labels: NDArray[np.bool_]
    identity: NDArray[np.int64]
    partition: NDArray[np.int64]


def draw_people(n_images: int, rng: np.random.Generator) -> People:
    """Draw everyone: identities of 1 to 27 images, each within one partition, in mixed order.

    Three images below the limit of 30 leave room for planted copies. People have 5 images on
    average (20 in CelebA), so that a small demo still has people enough to learn from.
    """
    n_train, n_valid = (round(n_images * share) for share in PARTITION_SHARES[:2])
    sizes = (n_train, n_valid, n_images - n_train - n_valid)
    identity = np.zeros(n_images, np.int64)
    person, start = 0, 0
    for size in sizes:
        members: list[int] = []
        while len(members) < size:
            members += [person] * (1 + int(27 * rng.random() ** 5))
            person += 1
        identity[start : start + size] = rng.permutation(members[:size])
        start += size
    labels = draw_labels(identity, rng)
    numbers = rng.permutation(person) + 1
    return People(labels, numbers[identity], np.repeat(np.arange(3), sizes))


def draw_labels(identity: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw labels (N, 40) bool from a Gaussian copula, then apply the rules of CelebA's labels.

    Each factor and each attribute's rest is a part that the person keeps plus one of the image.
    """
    loadings = np.array([row[2:7] for row in MODEL])
    kept_rest = np.array([row[7] for row in MODEL])
    rest_scale = np.sqrt(1 - np.minimum((loadings**2).sum(1), 1))
    n_people, n_images = int(identity.max()) + 1, len(identity)

    def draw(kept: NDArray[np.float64]) -> NDArray[np.float64]:
        mine = rng.normal(size=(n_people, len(kept)))[identity]
        return np.sqrt(kept) * mine + np.sqrt(1 - kept) * rng.normal(size=(n_images, len(kept)))

    latent = draw(KEPT_FACTORS) @ loadings.T + rest_scale * draw(kept_rest)
    margin = latent + ndtri(np.array([row[1] for row in MODEL]) / 100)
    return _apply_rules(margin, rng)


def _apply_rules(margin: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Turn margins (positive: the attribute is there) into labels that seldom contradict."""
    labels = margin > 0
    luck = rng.random((len(margin), len(EXCLUSIONS) + 4))
    for group, column in ((HAIR_COLOURS, -3), (HAIR_SHAPES, -2)):
        places = [COLUMN[name] for name in group]
        best = margin[:, places] == margin[:, places].max(1, keepdims=True)
        labels[:, places] &= best | (luck[:, column] > 0.96)[:, None]
    for k, (held, winner, losers) in enumerate(EXCLUSIONS):
        applies = labels[:, COLUMN[winner]] & (luck[:, k] < held)
        for name in losers:
            labels[applies, COLUMN[name]] = False
    bearded = labels[:, [COLUMN[name] for name in BEARDS]].any(1) | ~labels[:, COLUMN["No_Beard"]]
    bearded &= luck[:, -4] < 0.99
    labels[:, COLUMN["Male"]] |= bearded
    for name in ("Wearing_Lipstick", "Heavy_Makeup"):
        labels[bearded, COLUMN[name]] = False
    logit = sum(weight * labels[:, COLUMN[name]] for name, weight in ATTRACTIVE.items()) - 2.05
    chance = np.clip(luck[:, -1], 1e-9, 1 - 1e-9)
    labels[:, COLUMN["Attractive"]] = logit + np.log(chance / (1 - chance)) > 0
    return labels
