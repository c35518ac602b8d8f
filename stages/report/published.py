"""Published systems, beside which a figure may stand on CelebA's official test partition only."""

from dataclasses import dataclass

from stages.report.inputs import Inputs

#: CelebA's test partition and attributes (Liu et al., ICCV 2015).
N_TEST, N_ATTRIBUTES = 19_962, 40


@dataclass(frozen=True)
class System:
    """Mean accuracy over the 40 attributes on the official test partition, as its authors say."""

    name: str
    accuracy: float
    source: str
    is_ours: bool = False


#: Single networks trained on CelebA's official training partition, and the constant answer.
PUBLISHED = (
    System("Majority class", 0.7991, "the constant answer more frequent in train"),
    System("LNets+ANet", 0.8730, "Liu et al., ICCV 2015"),
    System("MOON", 0.9094, "Rudd et al., ECCV 2016"),
    System("MCNN-AUX", 0.9129, "Hand and Chellappa, AAAI 2017"),
    System("DMM-CNN", 0.9170, "Mao et al., 2020"),
    System("kkaryl", 0.9171, "the face-attribute challenge's MobileNetV2 by kkaryl"),
    System("FaRL", 0.9188, "Zheng et al., CVPR 2022"),
    System("AFFACT", 0.9200, "Günther et al., IJCB 2017; three networks"),
    System("HFE", 0.9217, "hierarchical feature embedding; uses identities"),
)


def is_official_test(inputs: Inputs) -> bool:
    """True where test was evaluated as published: CelebA's labels, all images, all attributes."""
    celeba, metrics = inputs.manifest["celeba"], inputs.evaluated.metrics.get("test")
    return bool(
        celeba
        and celeba["extent"] == "complete"
        and metrics
        and metrics["n_images"] == N_TEST
        and len(inputs.trained.model["attributes"]) == N_ATTRIBUTES
        and metrics["accuracy"] is not None
    )


def rank_systems(inputs: Inputs) -> list[System]:
    """Published systems with ours among them, the lowest first; empty on any other test set."""
    if not is_official_test(inputs):
        return []
    ours = System("This model", inputs.evaluated.metrics["test"]["accuracy"], "", is_ours=True)
    return sorted((*PUBLISHED, ours), key=lambda system: (system.accuracy, system.is_ours))
