"""The model card: what the model is for and how far it can be trusted.

Headings of Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

from typing import Any

import pandas as pd

from stages.report.inputs import Inputs
from stages.report.measures import list_facts
from stages.report.page_data_card import Topic
from stages.report.page_index import describe_failures, describe_subset, main_partition
from stages.report.page_slices import describe_gaps, name_groups
from stages.report.terms import find_terms
from stages.report.words import compact, counted, listed, percent, points

#: Attributes named as the weakest.
N_WEAK = 5
INTENDED = (
    "For research on attributes of aligned faces: comparing methods, finding errors in labels, "
    "learning how such a classifier is made and judged.",
    "By people who read the figures per attribute and per group before they use an answer.",
)
OUT_OF_SCOPE = (
    "No identification: it knows nobody, and answers are not features to find people by.",
    "No decision about a person: not hiring, lending, insurance, policing, border control, access, "
    "advertising to a person or judging their character, health, gender or age.",
    "No surveillance, and no photograph of anyone who has not agreed.",
)


def build_model_card(inputs: Inputs) -> dict[str, Any]:
    """What the template of a card needs."""
    evaluated, main = inputs.evaluated, main_partition(inputs)
    terms, model = find_terms(inputs), inputs.trained.model
    facts = list_facts(evaluated.metrics[main], len(model["attributes"])) if main else []
    return {
        "heading": "Model card",
        "lead": f"What {model['network']} trained on {terms.name} is for, how well it does, and "
        "where it fails. Figures are filled in from this run.",
        "card_facts": facts[:5],
        "topics": [
            Topic("details", "Model details", list_details(inputs), link=("training", "training")),
            Topic("use", "Intended use", lines=INTENDED),
            Topic("scope", "Out of scope", lines=OUT_OF_SCOPE),
            Topic("factors", "Factors", lines=describe_factors(inputs)),
            Topic("metrics", "Metrics", lines=describe_metrics(inputs)),
            Topic("evaluation", "Evaluation data", lines=describe_evaluation_data(inputs)),
            Topic("training", "Training data", lines=describe_training_data(inputs),
                  link=("data_card", "data card")),
            Topic("attributes", "Results by attribute", lines=describe_weak(inputs),
                  link=("evaluation", "every attribute")),
            Topic("groups", "Results by group", lines=describe_groups(inputs),
                  link=("slices", "every group")),
            Topic("ethics", "Ethical considerations", lines=(
                *terms.consent,
                "A label is how a face looked to an annotator: answers repeat that view, its "
                "errors and its taste, and say nothing about who a person is.",
                "People unlike those in the data are answered worse, and nothing here shows how "
                "much.",
            )),
            Topic("caveats", "Caveats and recommendations", lines=(
                *terms.limits,
                f"Faces must be aligned as the training pictures are, {input_size(inputs)}.",
                "Choose thresholds per attribute on pictures of your own, and look at the groups "
                "you care about.",
            )),
            Topic("licence", "Licence", lines=describe_licence(inputs)),
            Topic("again", "How to make it again", lines=(
                "dvc repro rebuilds everything from dvc.lock and params.yaml; the same data, "
                "parameters and code give the same bytes on the same machine.",
                f"Training key {model['key'][:16]}, weights {model['weights_sha256'][:16]} "
                "(SHA-256).",
            )),
        ],
    }  # fmt: skip


def list_details(inputs: Inputs) -> tuple[tuple[str, str], ...]:
    """What the network is and how it was trained."""
    model, summary = inputs.trained.model, inputs.trained.summary
    settings = model["train"]
    start = "random weights" if summary["weights"] == "none" else f"{summary['weights']} weights"
    return (
        ("network", f"{model['network']}, {counted(summary['n_parameters'], 'parameter')}"),
        ("input", f"one RGB face, {input_size(inputs)}"),
        ("output", f"{len(model['attributes'])} probabilities; yes above "
                   f"{compact(model['threshold'])}"),
        ("start", start),
        ("training", f"{settings['optimizer']}, learning rate {compact(settings['lr'])}, loss "
                     f"{settings['loss']}, best of {counted(summary['n_epochs_run'], 'epoch')}: "
                     f"{summary['best_epoch']}"),
    )  # fmt: skip


def input_size(inputs: Inputs) -> str:
    """The size of a picture, in words."""
    model = inputs.trained.model
    crop = model["crop_px"]
    size = f"{model['height_px']} × {model['width_px']} pixels"
    return f"the centre {crop[0]} × {crop[1]} brought to {size}" if crop else size


def describe_factors(inputs: Inputs) -> tuple[str, ...]:
    """The groups by which figures are split, and what is not known."""
    names = dict.fromkeys(inputs.evaluated.slices["slice"])
    groups = (
        f"Figures are split by the labels {listed([n.replace('+', ' with ') for n in names])}."
        if names
        else "No groups were evaluated: evaluate.slices names none of this data."
    )
    return (
        groups,
        "Origin, age and camera are not in the labels, so nothing is known about them.",
    )


def describe_metrics(inputs: Inputs) -> tuple[str, ...]:
    """What is measured, against what, and how sure it is."""
    confidence = inputs.evaluated.confidence
    share = f" of {percent(confidence, 0)}" if confidence is not None else ""
    return (
        "Accuracy per attribute and its mean, always beside the majority class: the answer more "
        "frequent in train. Balanced accuracy, F1, MCC, ROC AUC, average precision, Brier score "
        "and calibration error beside it.",
        f"Intervals{share} come from resampled people, as pictures of one person are alike.",
        f"One threshold, {compact(inputs.trained.model['threshold'])}; choices are made on valid, "
        "test is for reporting.",
    )


def describe_evaluation_data(inputs: Inputs) -> tuple[str, ...]:
    """The evaluated partitions, and whether they are the official ones."""
    lines = []
    for partition in inputs.evaluated.partitions:
        metrics = inputs.evaluated.metrics[partition]
        people = metrics.get("n_identities")
        subset = describe_subset(inputs, partition)
        lines.append(
            f"{partition}: {counted(metrics['n_images'], 'image')}"
            + (f" of {counted(people, 'person', 'people')}" if people else "")
            + (f"; a subset ({subset}), not comparable with published figures." if subset else ".")
        )
    return tuple(lines) or ("No partition was evaluated.",)


def describe_training_data(inputs: Inputs) -> tuple[str, ...]:
    """What the model learned from."""
    summary = inputs.trained.summary
    return (
        f"{counted(summary['n_train'], 'image')} of {find_terms(inputs).name}; "
        f"{counted(summary['n_valid'], 'image')} of valid chose the best epoch.",
    )


def describe_weak(inputs: Inputs) -> tuple[str, ...]:
    """Attributes on which the model is not, or not clearly, better than the majority class."""
    main = main_partition(inputs)
    table = inputs.evaluated.per_attribute
    table = table[table["partition"] == main].dropna(subset=["gain"])
    if table.empty:
        return ("No attribute was evaluated.",)
    lines = [describe_failures(table)]
    unclear = table[(table["gain"] > 0) & ~(table["gain_low"] > 0)]
    if len(unclear) and table["gain_low"].notna().any():
        names = unclear.sort_values("gain", kind="stable")["attribute"].tolist()
        lines.append(f"Better, but not beyond chance, on {len(names)}: {listed(names, 12)}.")
    ranked = table.dropna(subset=["balanced_accuracy"])
    ranked = ranked.sort_values("balanced_accuracy", kind="stable")
    for words, rows in (("Weakest", ranked[:N_WEAK]), ("Strongest", ranked[::-1][:N_WEAK])):
        lines.append(f"{words} by balanced accuracy: {_name_scores(rows)}.")
    return tuple(lines)


def describe_groups(inputs: Inputs) -> tuple[str, ...]:
    """Where the model fails, group by group."""
    slices = inputs.evaluated.slices
    mine = slices[slices["partition"] == main_partition(inputs)]
    if mine.empty:
        return ("No group was evaluated.",)
    return tuple(describe_gaps(name_groups(mine)))


def describe_licence(inputs: Inputs) -> tuple[str, ...]:
    """Of code, weights and data."""
    terms, start = find_terms(inputs), inputs.trained.summary["weights"]
    lines = ["Code: Apache-2.0.", *(f"Weights: {line}" for line in terms.weights)]
    if start != "none":
        lines.append(f"They started from {start} weights, whose terms apply as well.")
    return (*lines, *(f"Data: {line}" for line in terms.licence[:1]))


def _name_scores(rows: pd.DataFrame) -> str:
    return listed(
        [
            f"{name} ({percent(score)}, gain {points(gain)})"
            for name, score, gain in zip(
                rows["attribute"], rows["balanced_accuracy"], rows["gain"], strict=True
            )
        ]
    )
