"""What changed from one version of a data set to another, and by how much."""
