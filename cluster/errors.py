"""What goes wrong on the way to a cluster, in a person's words."""


class ClusterError(Exception):
    """A batch system, a profile or a job is not as it must be; one line a fault: where, what, the
    value, the remedy."""
