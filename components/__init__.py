"""Kubeflow components: one thin file each, which calls mmgen and hands what it made to Kubeflow."""
