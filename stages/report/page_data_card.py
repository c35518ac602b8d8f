"""The data card: what the data are, in the order of Datasheets for Datasets.

Gebru et al., Datasheets for Datasets, Communications of the ACM 64(12), 2021: motivation,
composition, collection, preprocessing, uses, distribution, maintenance.
"""

from dataclasses import dataclass
from typing import Any

from stages.common.tables import PARTITIONS
from stages.report.inputs import Inputs
from stages.report.page_index import CHECK_NAMES, count_left_out
from stages.report.sentences_audit import describe_audit
from stages.report.terms import find_terms
from stages.report.words import count, counted, decimal, is_undefined, listed, percent, sentence


@dataclass(frozen=True)
class Topic:
    """One heading of a card: facts as name and value, then sentences."""

    key: str
    title: str
    facts: tuple[tuple[str, str], ...] = ()
    lines: tuple[str, ...] = ()
    link: tuple[str, str] | None = None  # page without .html, what it holds


def build_data_card(inputs: Inputs) -> dict[str, Any]:
    """What the template of a card needs."""
    terms = find_terms(inputs)
    return {
        "heading": "Data card",
        "lead": f"What {terms.name} is made of, where it comes from and what it may be used for. "
        "Figures are filled in from this run.",
        "card_facts": [],
        "topics": [
            Topic("motivation", "Why it exists", lines=terms.motivation),
            Topic(
                "composition",
                "Composition",
                list_composition(inputs),
                describe_labels(inputs),
                ("explore", "all tables"),
            ),
            Topic("collection", "Collection", lines=(*terms.pictures, *terms.labels)),
            Topic("consent", "People shown", lines=(*terms.consent, *_people(inputs))),
            Topic(
                "quality",
                "Errors and redundancies",
                lines=tuple(describe_audit(inputs)),
                link=("audit", "findings and pictures"),
            ),
            Topic(
                "preparation",
                "Preprocessing and cleaning",
                list_preparation(inputs),
                (
                    "Valid and test stay whole: only training images are left out, and only their "
                    "labels masked or corrected.",
                    "The original bytes are kept untouched in data/download.",
                ),
            ),
            Topic(
                "uses",
                "Uses",
                lines=(
                    "For training and judging classifiers of attributes of aligned faces, and for "
                    "studying errors in labels.",
                    "Not for identifying people, nor for deciding about them; not as a statement "
                    "of who a person is.",
                    *terms.limits,
                ),
            ),
            Topic("distribution", "Licence and distribution", lines=terms.licence),
            Topic("maintenance", "Maintenance", _list_versions(inputs), _maintenance(inputs)),
        ],
    }


def list_composition(inputs: Inputs) -> tuple[tuple[str, str], ...]:
    """Counts of the data set."""
    manifest, summary = inputs.manifest, inputs.explored.summary
    sizes = manifest["n_by_partition"]
    n_identities = manifest["n_identities"]
    n_shared = summary.get("n_identities_shared")
    shared = f", {count(n_shared)} of them in more than one partition" if n_shared else ""
    return (
        ("images", count(manifest["n_images"])),
        (
            "partitions",
            listed([f"{p} {count(sizes[p])}" for p in PARTITIONS if sizes.get(p)]) or "none",
        ),
        ("identities", f"{count(n_identities)}{shared}" if n_identities else "none given"),
        ("attributes", f"{count(len(inputs.attributes))}, each yes or no"),
        ("unknown labels", count(summary.get("n_missing_labels"))),
        ("attributes per image", decimal(summary.get("label_cardinality"), 1)),
        ("unreadable or missing", count(manifest["n_unreadable"] + manifest["n_missing"])),
    )


def describe_labels(inputs: Inputs) -> tuple[str, ...]:
    """The frequent and the rare attributes, and the explore stage's words about the pictures."""
    table = inputs.explored.imbalance.dropna(subset=["prevalence"])
    table = table.sort_values("prevalence", kind="stable")
    lines = []
    if len(table) > 1:
        shares = [f"{n} ({percent(p)})" for n, p in zip(table["attribute"], table["prevalence"],
                                                        strict=True)]  # fmt: skip
        k = min(3, len(shares) // 2)
        lines.append(f"Rarest: {listed(shares[:k])}; most frequent: {listed(shares[::-1][:k])}.")
    findings = inputs.explored.summary["findings"]
    lines += [sentence(text) for text in findings.get("pictures", [])[:1]]
    lines += [sentence(text) for text in findings.get("partitions", [])[:1]]
    return tuple(lines)


def list_preparation(inputs: Inputs) -> tuple[tuple[str, str], ...]:
    """What prepare did: crop, size, selection, and the policy per check."""
    prepared = inputs.prepared
    crop = prepared["crop_px"]
    size = f"{prepared['height_px']} × {prepared['width_px']} pixels"
    facts = [
        (
            "pictures",
            f"centre {crop[0]} × {crop[1]}, then {size}" if crop else f"resized to {size}",
        ),
        ("left out of training", counted(count_left_out(inputs), "image")),
        ("labels masked", count(sum(prepared["masked"].values()))),
    ]
    n_verdicts = prepared["reviews"]["n_verdicts"]
    if n_verdicts:
        facts.append(("reviewer’s verdicts", count(n_verdicts)))
    subset = sum(prepared["dropped"].get("subset", {}).values())
    if subset:
        facts.append(("chosen aside (subset)", counted(subset, "image")))
    by_action: dict[str, list[str]] = {}
    for check, action in prepared["policy"].items():
        by_action.setdefault(action, []).append(CHECK_NAMES.get(check, check))
    facts += [
        (f"policy: {action}", listed(sorted(names), 12)) for action, names in by_action.items()
    ]
    return tuple(facts)


def _people(inputs: Inputs) -> tuple[str, ...]:
    if inputs.is_demo:
        return ()
    return (
        "Identities are numbers that keep a person’s pictures together in one partition and one "
        "resample; Facet names nobody and offers no way to.",
    )


def _list_versions(inputs: Inputs) -> tuple[tuple[str, str], ...]:
    files = inputs.manifest.get("files", {})
    digest = files.get("annotations.parquet", {}).get("sha256", "")
    return (("labels, SHA-256", digest[:16]),) if digest else ()


def _maintenance(inputs: Inputs) -> tuple[str, ...]:
    """How a change of the data is noticed."""
    seen = inputs.manifest.get("source_state")
    checked = (
        "`facet check` says when the source has changed since it was read."
        if not is_undefined(seen)
        else "The data are drawn anew, the same bytes from the same parameters."
        if inputs.is_demo
        else "`facet check` says whether the source is still there."
    )
    return (checked.replace("`", ""), "A reviewer’s verdicts stand in reviews/verdicts.csv.")
