"""Commands of kubectl that messages name, to be pasted."""

import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Kubectl:
    """kubectl, told where it works: the cluster and the namespace that it takes by itself need not
    be those of a profile.

    Attributes:
        context: of the kubeconfig; None: the current one.
        namespace: None: that of the context.
    """

    context: str | None = None
    namespace: str | None = None

    def line(self, *words: str) -> str:
        """A command as a shell reads it.

        Args:
            words: what follows `kubectl`, each as it is.
        """
        context = ["--context", self.context] if self.context else []
        namespace = ["-n", self.namespace] if self.namespace else []
        return shlex.join(["kubectl", *context, *namespace, *words])


ANYWHERE = Kubectl()
"""Where kubectl goes by itself."""
