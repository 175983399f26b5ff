"""Kubernetes with KubeRay's operator: a sweep becomes a RayJob, which makes a Ray cluster and runs
the driver on it."""
