"""VAEs: pictures through a few numbers and back, with a likelihood."""
