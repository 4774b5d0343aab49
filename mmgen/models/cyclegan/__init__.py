"""CycleGAN: one drawing style into another and back, learned without pairs."""
