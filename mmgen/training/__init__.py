"""Training: the loop, its checkpoints, the stage."""
