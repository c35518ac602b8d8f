"""What the audit found, what became of it, and how sure it is, in sentences."""

from typing import Any

from stages.report.inputs import Inputs
from stages.report.page_index import count_left_out
from stages.report.words import count, counted, is_undefined, listed, percent


def describe_audit(inputs: Inputs) -> list[str]:
    """The audit's findings and what became of them."""
    summary, n_images = inputs.audited.summary, inputs.audited.summary["n_images"]
    by_check = summary["by_check"]

    def findings(check: str) -> int:
        return int(by_check.get(check, {}).get("findings", 0))

    def flagged(check: str) -> int:
        return int(by_check.get(check, {}).get("flagged", 0))

    def images(check: str) -> int:
        return int(by_check.get(check, {}).get("images", 0))

    sentences = []
    if not any(flagged(check) for check in by_check):
        sentences.append(f"The audit found nothing wrong with {counted(n_images, 'image')}.")
    if flagged("mislabel"):
        sentences.append(
            f"{counted(flagged('mislabel'), 'label')} {_are(flagged('mislabel'))} suspected to be "
            f"wrong{_name_worst(inputs)}."
        )
    if images("exact_duplicate") or images("near_duplicate"):
        sentences.append(
            f"{counted(n_images, 'image')} hold {count(findings('exact_duplicate'))} surplus "
            f"identical {'copy' if findings('exact_duplicate') == 1 else 'copies'} "
            f"({counted(summary['n_groups_exact'], 'group')}) and "
            f"{counted(findings('near_duplicate'), 'pair')} of near-duplicates "
            f"({counted(summary['n_groups_near'], 'group')})."
        )
    if findings("leak"):
        pairs = [
            f"{n:,} {name.replace('-', '–')}" for name, n in summary["leaks_by_pair"].items() if n
        ]
        sentences.append(
            f"{counted(findings('leak'), 'pair')} of copies "
            f"{'lies' if findings('leak') == 1 else 'lie'} across partitions ({listed(pairs)}): "
            "a model could know the answer."
        )
    if findings("label_conflict"):
        sentences.append(
            f"Copies of one picture disagree in {counted(findings('label_conflict'), 'label')}."
        )
    if flagged("faceless"):
        sentences.append(
            f"{counted(flagged('faceless'), 'picture')} "
            f"{'shows' if flagged('faceless') == 1 else 'show'} no face, or hardly one."
        )
    if flagged("identity_outlier"):
        n = flagged("identity_outlier")
        sentences.append(
            f"{counted(n, 'image')} {'looks' if n == 1 else 'look'} unlike the others of "
            f"{'its' if n == 1 else 'their'} identity."
        )
    if findings("identity_conflict"):
        n = images("identity_conflict")
        sentences.append(
            f"{counted(n, 'image')} {_are(n)} filed under another identity than a copy."
        )
    if flagged("label_rule"):
        sentences.append(
            f"{counted(images('label_rule'), 'image')} "
            f"{'bears' if images('label_rule') == 1 else 'bear'} labels that contradict each other."
        )
    if findings("unreadable"):
        sentences.append(f"{counted(images('unreadable'), 'picture')} cannot be decoded.")
    return [*sentences, *_describe_policy(inputs)]


def _describe_policy(inputs: Inputs) -> list[str]:
    """What prepare left out, masked and corrected."""
    prepared = inputs.prepared
    n_left_out, n_masked = count_left_out(inputs), sum(prepared["masked"].values())
    reviews = prepared["reviews"]
    sentences = []
    if n_left_out or n_masked:
        sentences.append(
            f"Following the policy, {counted(n_left_out, 'image')} "
            f"{'was' if n_left_out == 1 else 'were'} left out and {counted(n_masked, 'label')} "
            "masked in train; valid and test are not touched."
        )
    if reviews.get("n_verdicts"):
        applied = sum(reviews["applied"].values())
        sentences.append(
            f"Of {counted(reviews['n_verdicts'], 'verdict')} in reviews/verdicts.csv "
            f"{count(applied)} {'concerns' if applied == 1 else 'concern'} training images: "
            f"{counted(reviews['applied']['drop'], 'image')} left out, "
            f"{counted(prepared['masked'].get('review', 0), 'label')} masked and "
            f"{count(reviews['n_flipped'])} corrected."
        )
    return sentences


def _name_worst(inputs: Inputs) -> str:
    """', most often in ...': the attributes with the most suspected labels."""
    table = inputs.audited.by_attribute
    worst = table[table["n_mislabel"] > 0].sort_values("n_mislabel", ascending=False, kind="stable")
    names = [f"{row.attribute} ({count(row.n_mislabel)})" for row in worst[:3].itertuples()]
    return f", most often in {listed(names)}" if names else ""


def describe_self_check(result: dict[str, Any]) -> list[str]:
    """How sure the audit is, from labels that it turned round in a copy of the data.

    Args:
        result: self_check.json; empty where the audit did not measure it.
    """
    if not result or is_undefined(result["recall"]):
        return []
    sentences = [
        f"In a copy of the {counted(result['n_images'], 'training image')} the audit turned "
        f"{percent(result['share_flipped'])} of the labels round "
        f"({count(result['n_flipped'])}), then looked for them.",
        "It flagged none: of this size, or with these pictures, errors are not told from chance."
        if is_undefined(result["precision"])
        else f"It flagged {percent(result['recall'])} of them. Of what it flagged, "
        f"{percent(result['precision'])} had been turned round: a lower bound of its precision, "
        "as labels that were wrong before count as false alarms.",
    ]
    first = result["precision_first_1000"]
    if result["n_flipped"] > 1000 and not is_undefined(first):
        sentences.append(f"Of its first 1,000 suspects {percent(first)} had been turned round.")
    if not is_undefined(result["average_precision"]):
        sentences.append(
            f"As a ranking of all {count(result['n_labels'])} labels it has an average precision "
            f"of {percent(result['average_precision'])}, "
            f"{percent(result['macro_average_precision'])} as a mean over attributes; cleanlab’s "
            "label quality on the same probe has "
            f"{percent(result['cleanlab_average_precision'])}."
        )
    sentences.append(
        "Random flips flatter every method: people err where a face is hard to judge, and flips "
        "hit the clear ones too. Judge the first suspects below by eye."
    )
    if result.get("is_tuned"):
        sentences.append(
            "The fine-tuned networks learned the labels before any was turned round, which "
            "flatters the audit too."
        )
    return sentences


def _are(n: int) -> str:
    return "is" if n == 1 else "are"
