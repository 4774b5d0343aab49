"""Runs on a cluster with Kubeflow: compile, submit, schedule, monitor."""
