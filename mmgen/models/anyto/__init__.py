"""The flagship: one transformer that turns any modality it knows into any other."""
