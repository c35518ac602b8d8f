"""Use a trained model on photos; not part of the pipeline."""
