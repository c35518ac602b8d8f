"""The columns of the three tables, in order; an undefined or unknown value is an empty field."""

FIGURES = (
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "majority_accuracy",
    "gain",
    "gain_low",
    "gain_high",
    "roc_auc",
    "micro_roc_auc",
    "f1",
)
#: One row per run and partition. `ranking` numbers the sets of rows that may be ranked, `rank`
#: the row within; published rows (kind) stand in ours only where the images and labels are the
#: same. seconds, images_per_s and device are MLflow's; multiply_adds are of one image, forward.
COMPARISON = (
    "kind",
    "run",
    "partition",
    "ranking",
    "rank",
    "data",
    "data_digest",
    "n_images",
    "n_attributes",
    "threshold",
    *FIGURES,
    "recipe",
    "changes",
    "network",
    "weights",
    "n_train",
    "n_epochs_run",
    "best_epoch",
    "seconds",
    "images_per_s",
    "device",
    "n_parameters",
    "multiply_adds",
    "commit",
    "command",
    "source",
    "notes",
)
COUNTS = (
    *("ranking", "rank", "n_images", "n_attributes", "n_train", "n_epochs_run", "best_epoch"),
    *("n_parameters", "multiply_adds"),
)
#: One row per pair and partition for the mean (attribute empty), then one per common attribute.
DIFFERENCES = (
    "data",
    "partition",
    "run_a",
    "run_b",
    "attribute",
    "n_attributes",
    "n_images",
    "n_identities",
    "n_labels",
    "accuracy_a",
    "accuracy_b",
    "difference",
    "difference_low",
    "difference_high",
    "excludes_zero",
)
#: One row per run, partition and attribute; difference: to the base.
PER_ATTRIBUTE = (
    "data",
    "partition",
    "run",
    "attribute",
    "n_known",
    "prevalence",
    *FIGURES[:3],
    "majority_accuracy",
    *FIGURES[4:7],
    "base",
    "difference",
    "difference_low",
    "difference_high",
)
