"""The training loop, checkpoints, optimisers and schedules."""
