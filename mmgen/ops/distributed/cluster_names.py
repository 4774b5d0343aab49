"""Names of the objects of Kubernetes that pods of a run rely on. k8s/ makes them; a test holds both together."""

from __future__ import annotations

NAMESPACE = "mmgen"
"""Where k8s/ puts everything, and where runs are looked for unless another namespace is named."""

RUNNER = "mmgen-runner"
"""Service account of a run's pods."""

EDITOR = "default-editor"
"""Service account of a run that names none, as one from Kubeflow's pages, and up to 2.16 of every recurring run."""

SUBMITTER = "mmgen-submitter"
"""Service account of what starts and watches runs from outside, such as CI."""

SERVER = "mmgen-server"
"""Service account of what runs for good, such as MLflow, and of the janitor."""

SETTINGS = "mmgen-settings"
"""ConfigMap with addresses and prices, which pods get as environment variables."""

OBJECT_STORE = "object-store"
"""Secret with the keys of the object store. There is none where a role of the service account stands for them."""

AUTHORITIES = "object-store-ca"
"""ConfigMap with the certificates of a private authority. There is none where a public one has signed the store's."""

REGISTRY = "mmgen-registry"
"""Secret with the login to a private registry of images. There is none where pods may pull without."""

MLFLOW = "mlflow"
"""Deployment and Service of MLflow."""

DATABASE = "mlflow-database"
"""Secret with the address and password of MLflow's database."""

LAUNCHER = "kfp-launcher"
"""ConfigMap that Kubeflow's driver reads in every run."""

ARTIFACTS = "mlpipeline-minio-artifact"
"""Secret with the keys of Kubeflow's own object store, which its launcher reads in every run."""

TRAINING_RUNTIME = "mmgen-torch"
"""TrainingRuntime of Kubeflow Trainer that TrainJobs run in."""

QUEUE = "mmgen"
"""Kueue's LocalQueue."""
