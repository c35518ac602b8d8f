"""Two charts for MLflow: the curves of a training, and accuracy against the majority class."""

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_training(history: pd.DataFrame) -> "Figure":
    """Loss and accuracy by epoch.

    Args:
        history: Rows of reports/train/history.csv.
    """
    import seaborn as sns
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    sns.set_theme(style="whitegrid")
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    for column, label in (("train_loss", "train"), ("valid_loss", "valid")):
        sns.lineplot(history, x="epoch", y=column, label=label, marker="o", ax=losses)
    losses.set(title="Loss", xlabel="epoch", ylabel="")
    for column, label in (("valid_accuracy", "model"), ("valid_majority", "majority class")):
        sns.lineplot(history, x="epoch", y=column, label=label, marker="o", ax=accuracies)
    accuracies.set(title="Accuracy on valid (mean over attributes)", xlabel="epoch", ylabel="")
    for axes in (losses, accuracies):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def draw_accuracy(per_attribute: pd.DataFrame, partition: str) -> "Figure":
    """One line per attribute from the majority class's accuracy to the model's.

    Args:
        per_attribute: Rows of reports/evaluate/per_attribute.csv.
        partition: Which of its partitions is drawn.
    """
    import seaborn as sns
    from matplotlib.figure import Figure

    sns.set_theme(style="whitegrid")
    rows = per_attribute[per_attribute["partition"] == partition].sort_values(
        "gain", ascending=False
    )
    figure = Figure(figsize=(8, 1.2 + 0.22 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.hlines(rows["attribute"], rows["majority_accuracy"], rows["accuracy"], color="0.75", lw=2)
    majority = {"marker": "|", "s": 220, "linewidth": 2, "color": "0.25"}
    sns.scatterplot(rows, x="majority_accuracy", y="attribute", ax=axes, legend=False, **majority)
    sns.scatterplot(rows, x="accuracy", y="attribute", ax=axes, legend=False, s=45)
    axes.set(title=f"Accuracy on {partition}: model (dot), majority class (bar)", xlabel="")
    axes.set_ylabel("")
    return figure
