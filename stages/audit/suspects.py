"""Wrong labels, pictures without a face and wrong identities: all checks that need features."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from stages.audit.backbone import load_backbone
from stages.audit.consensus import code_identities, count_people, sum_others
from stages.audit.copies import Copies
from stages.audit.evidence import Evidence, LabelSet, gather_evidence
from stages.audit.faceless import score_faceless
from stages.audit.features import extract_features
from stages.audit.findings import Finding
from stages.audit.folds import make_folds
from stages.audit.identities import score_identities
from stages.audit.selfcheck import SelfCheck, check_itself, count_doubt, weigh_rules
from stages.audit.tune import ask_tuned, join_answers
from stages.common.params import AuditParams

#: Fewer training images teach a probe nothing.
MIN_TRAIN = 200
#: Of fewer people (see count_people) the votes of a person's other images, one short of the same
#: sum each, tell the image's own label: planted flips ranked behind those found without people.
MIN_PEOPLE = 10
#: Fewer planted errors teach nothing about real ones.
MIN_FLIPS = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Suspects:
    """Probabilities of being wrong for N images of annotations, NaN where not judged.

    face, identity: (N,) float32. labels: (N, A) float32. findings: rows for issues.parquet.
    self_check: None without labels' check. skipped: check to reason.
    """

    face: NDArray[np.float32]
    identity: NDArray[np.float32]
    labels: NDArray[np.float32]
    findings: list[Finding] = field(default_factory=list)
    self_check: SelfCheck | None = None
    skipped: dict[str, str] = field(default_factory=dict)


def find_suspects(
    download: Path,
    annotations: pd.DataFrame,
    attributes: list[str],
    labels: NDArray[np.uint8],
    known: NDArray[np.bool_],
    readable: NDArray[np.int64],
    copies: Copies,
    params: AuditParams,
) -> Suspects:
    """Judge all readable pictures and their labels.

    Args:
        download: data/download.
        annotations: N rows by image_id.
        attributes: A names.
        labels: (N, A) uint8.
        known: (N, A) bool.
        readable: (P,) rows with readable pictures, ascending.
        copies: Copies among the N.
        params: This stage's parameters.
    """
    n = len(annotations)
    nothing = Suspects(
        np.full(n, np.nan, np.float32),
        np.full(n, np.nan, np.float32),
        np.full((n, len(attributes)), np.nan, np.float32),
    )
    image_ids = annotations["image_id"].to_numpy(object)
    identity = annotations["identity"].to_numpy(object)
    train = (annotations["partition"] == "train").to_numpy()
    fitted = readable[train[readable]]
    folds = np.full(n, -1, np.int64)
    reason = None
    if params.features == "none":
        reason = "audit.features is none"
    elif len(fitted) < max(MIN_TRAIN, 4 * params.n_folds):
        reason = f"{len(fitted)} readable training images, fewer than {MIN_TRAIN}"
    else:
        if count_people(code_identities(identity[fitted])) < MIN_PEOPLE:
            log.warning("identities are left aside, as nearly all images show the same few people")
            identity = np.full(n, None, object)
        folds = make_folds(identity, copies, labels, known, fitted, params.n_folds, params.seed)
        if folds.max() < 1:
            reason = "the training images are all copies of one another"
    if reason:
        log.warning("mislabel, faceless and identity_outlier are skipped: %s", reason)
        skipped = dict.fromkeys(("mislabel", "faceless", "identity_outlier"), reason)
        return Suspects(nothing.face, nothing.identity, nothing.labels, skipped=skipped)
    backbone = load_backbone(params)
    extracted = extract_features(download, image_ids, readable, train, backbone, params.seed)
    assert extracted is not None  # MIN_TRAIN is above MIN_SAMPLE
    features, axes = extracted
    folds = folds[readable]
    person = code_identities(identity[readable])
    face = nothing.face
    face[readable] = score_faceless(
        download, image_ids, features, axes, backbone, folds, params.seed
    )
    place = np.full(n, -1, np.int64)
    place[readable] = np.arange(len(readable))
    pairs = np.array([(pair.first, pair.second) for pair in copies.pairs], np.int64).reshape(-1, 2)
    x = torch.from_numpy(features.matrix)
    can_judge = np.round(params.self_check * known[fitted].sum(0)).sum() >= MIN_FLIPS
    if params.fine_tune and can_judge:
        answers = ask_tuned(
            params, download, image_ids, readable, labels[readable], known[readable], folds
        )
        x = join_answers(features.matrix, answers)
    data = LabelSet(
        x,
        labels[readable],
        known[readable],
        person,
        place[pairs],
        folds,
    )
    skipped, check, evidence = {}, None, None
    if can_judge:
        evidence = gather_evidence(data)
        check = check_itself(
            data, attributes, params.self_check, params.flag_above, params.seed,
            is_tuned=params.fine_tune > 0,
        )  # fmt: skip
        wrong = check.combiner.judge(
            count_doubt(evidence, data.labels, data.known), weigh_rules(data, attributes)
        )
        nothing.labels[readable] = np.where(data.known, wrong, np.nan)
    else:
        skipped["mislabel"] = f"{int(known[fitted].sum())} known labels in train are too few"
    logits = None if evidence is None else evidence.probe
    stranger = score_identities(features.matrix, logits, person, folds, params.seed)
    if stranger is None:
        skipped["identity_outlier"] = "too few people with three images in train"
    else:
        nothing.identity[readable] = stranger
    for name, why in skipped.items():
        log.warning("%s is skipped: %s", name, why)
    findings = [
        *_list_mislabels(nothing.labels[readable], data, evidence, attributes, readable, params),
        *_list_images("faceless", face, "no face, {} % sure: unlike the others' pictures", params),
        *_list_images(
            "identity_outlier",
            nothing.identity,
            "someone else, {} % sure: unlike this person's other images",
            params,
        ),
    ]
    return Suspects(face, nothing.identity, nothing.labels, findings, check, skipped)


def _choose(wrong: NDArray[np.float32], params: AuditParams) -> NDArray[np.int64]:
    """Indices of flagged values and of the n_suspects most suspect others; NaN never."""
    values = np.nan_to_num(wrong, nan=-1.0)
    order = np.argsort(-values, kind="stable")
    n_flagged = int((values >= params.flag_above).sum())
    chosen = order[: n_flagged + params.n_suspects]
    return chosen[values[chosen] >= 0]


def _list_images(
    check: str, wrong: NDArray[np.float32], text: str, params: AuditParams
) -> Iterator[Finding]:
    """Findings about whole images from probabilities (N,)."""
    for row in _choose(wrong, params):
        p = float(wrong[row])
        flagged = p >= params.flag_above
        yield Finding(int(row), check, None, None, 1 - p, flagged, text.format(round(100 * p)))


def _list_mislabels(
    wrong: NDArray[np.float32],
    data: LabelSet,
    evidence: Evidence | None,
    attributes: list[str],
    rows: NDArray[np.int64],
    params: AuditParams,
) -> Iterator[Finding]:
    """Findings about labels, with the evidence in words."""
    if evidence is None:
        return
    probe = 1 / (1 + np.exp(-np.clip(evidence.probe, -30, 30)))
    positive = sum_others((data.labels * data.known).astype(np.float32), data.person)
    voters = sum_others(data.known.astype(np.float32), data.person)
    for index in _choose(wrong.ravel(), params):
        k, a = divmod(int(index), len(attributes))
        p = float(wrong[k, a])
        detail = describe_label(
            attributes[a],
            int(data.labels[k, a]),
            float(probe[k, a]),
            round(float(positive[k, a])),
            round(float(voters[k, a])),
        )
        flagged = p >= params.flag_above
        yield Finding(int(rows[k]), "mislabel", attributes[a], None, 1 - p, flagged, detail)


def describe_label(attribute: str, label: int, prob: float, n_yes: int, n_others: int) -> str:
    """The evidence in words: `labelled Male; the picture says 3 %; 11 of 12 others say no`."""
    parts = [
        f"labelled {'' if label else 'not '}{attribute}",
        f"the picture alone says {100 * prob:.0f} %",
    ]
    if n_others:
        against = n_others - n_yes if label else n_yes
        parts.append(
            f"{against} of {n_others} other {'image' if n_others == 1 else 'images'} of this "
            f"person {'say' if against != 1 else 'says'} {'no' if label else 'yes'}"
        )
    return "; ".join(parts)


def rate_attributes(suspects: Suspects, attributes: list[str]) -> dict[str, dict[str, Any]]:
    """Suspected error rate of each attribute with a 95 % interval; empty without a self-check."""
    if suspects.self_check is None:
        return {}
    rates = suspects.self_check.combiner.rates()
    names = ("error_rate", "error_rate_low", "error_rate_high")
    return {
        attribute: {name: round(float(rate[a]), 5) for name, rate in zip(names, rates, strict=True)}
        for a, attribute in enumerate(attributes)
    }
