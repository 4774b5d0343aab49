"""Many runs compared: all recipes measured, ablations, two models side by side."""
