"""Samples in tar shards, the data sets that we build, and the ids that name them."""
