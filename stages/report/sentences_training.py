"""What a training did, in words, from its parameters and what prepare counted."""

from collections.abc import Mapping
from typing import Any

from stages.report.page_index import CHECK_NAMES
from stages.report.words import compact, count, counted, listed


def describe_start(weights: str) -> str:
    """How the weights began."""
    named = {"none": "random weights", "imagenet": "ImageNet weights"}
    return named.get(weights) or (
        "torchvision’s first ImageNet weights" if weights == "imagenet_v1" else f"{weights}’s"
    )


def describe_augmentation(augment: Mapping[str, Any]) -> str:
    """What chance does to an image, in the order in which it is done; '' where it does nothing."""
    on = {key: value for key, value in augment.items() if value}
    edge = {"reflect": "mirrored", "black": "black"}.get(augment.get("border", ""), "")
    words = []
    if "flip" in on:
        words.append(f"mirrored left to right {chance_of(on['flip'])}")
    if "crop_padding_px" in on:
        words.append(f"moved by up to {on['crop_padding_px']} pixels each way ({edge} at the edge)")
    if "affine" in on:
        limits = [
            f"{verb} by up to {format(on[key])}"
            for key, verb, format in (
                ("shift", "shifted", share),
                ("scale", "scaled", share),
                ("rotate_deg", "turned", degrees),
            )
            if key in on
        ]
        words.append(f"{listed(limits)} {chance_of(on['affine'])} ({edge} at the edge)")
    if "jitter" in on:
        limits = [
            f"{key} by up to {share(on[key])}"
            for key in ("brightness", "contrast", "saturation")
            if key in on
        ]
        limits += [f"hue by up to {degrees(360 * on['hue'])}"] if "hue" in on else []
        words.append(f"changed in {listed(limits)} {chance_of(on['jitter'])}")
    if "fancy_pca" in on:
        words.append(
            "lit along the main directions of the colours (standard deviation "
            f"{compact(on['fancy_pca'])})"
        )
    if "noise" in on:
        words.append(f"given noise with a standard deviation of {compact(on['noise'])} grey levels")
    if "erase" in on:
        words.append(
            f"erased in a box of {on['erase_min_px']} to {on['erase_max_px']} pixels a side "
            f"{chance_of(on['erase'])}"
        )
    return "; ".join(words)


def describe_mixing(augment: Mapping[str, Any]) -> str:
    """How batches are mixed; '' where they are not."""
    up, cut = augment.get("mixup_alpha", 0), augment.get("cutmix_alpha", 0)
    kinds = [
        f"{name} (weights from Beta({compact(alpha)}, {compact(alpha)}))"
        for name, alpha in (("MixUp", up), ("CutMix", cut))
        if alpha
    ]
    if not kinds:
        return ""
    how = "Half of the batches each are mixed by" if up and cut else "Every batch is mixed by"
    return f"{how} {' and '.join(kinds)}: each image with the one at the mirrored place."


def chance_of(probability: float) -> str:
    """A probability in words."""
    return "always" if probability == 1 else f"with probability {compact(probability)}"


def share(value: float) -> str:
    """A share as per cent without superfluous digits."""
    return f"{compact(100 * value, 3)} %"


def degrees(value: float) -> str:
    """An angle."""
    return f"{compact(value, 3)}°"


def describe_stop(train: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """A sentence where the training ended before its last epoch; '' where it did not."""
    n_run, n_planned = summary["n_epochs_run"], train.get("n_epochs")
    if not n_planned or n_run >= n_planned:
        return ""
    on = {"either": "neither accuracy nor loss", "loss": "the loss"}
    watched = on.get(train.get("patience_on", ""), "the accuracy")
    got = "got better" if watched.startswith("neither") else "got no better"
    return (
        f"It stopped early, after {n_run} of {counted(n_planned, 'epoch')}: on valid {watched} "
        f"{got} for {counted(train.get('patience'), 'epoch')}."
    )


def describe_generations(summary: Mapping[str, Any]) -> str:
    """A sentence where the network had predecessors that taught it; '' where it had none."""
    before = summary.get("generations", [])[:-1]
    if not before:
        return ""
    reached = [
        "n/a" if one["valid_accuracy"] is None else f"{one['valid_accuracy']:.2%}" for one in before
    ]
    return (
        f"It also learned from the answers of {counted(len(before), 'predecessor')}, trained "
        f"alike, which reached {listed(reached)} on valid."
    )


def describe_data(prepared: Mapping[str, Any]) -> list[str]:
    """What prepare left out of train and masked in it, a phrase each; [] for nothing."""
    names = {**CHECK_NAMES, "subset": "not chosen", "review": "by verdicts", "resplit": "for valid"}
    dropped = [
        f"{names.get(why, why)} ({count(parts['train'])})"
        for why, parts in prepared["dropped"].items()
        if parts.get("train")
    ]
    masked = [f"{names.get(why, why)} ({count(n)})" for why, n in prepared["masked"].items() if n]
    phrases = [f"left out of train: {listed(dropped)}"] if dropped else []
    phrases += [f"labels masked: {listed(masked)}"] if masked else []
    return phrases
