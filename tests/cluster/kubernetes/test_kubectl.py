"""Commands of kubectl that are pasted."""

import shlex

from cluster.kubernetes.kubectl import Kubectl


def test_a_command_names_what_the_profile_names_and_nothing_else() -> None:
    assert Kubectl().line("get", "pods") == "kubectl get pods"
    assert Kubectl("lab", "team").line("get", "pods") == "kubectl --context lab -n team get pods"
    assert Kubectl(namespace="team").line("get", "pods") == "kubectl -n team get pods"


def test_a_shell_reads_each_word_as_it_is() -> None:
    words = ["patch", "rayjob", "x", "-p", '{"metadata":{"finalizers":null}}']
    context = "ann(lab)*!"

    line = Kubectl(context, "team").line(*words)

    assert shlex.split(line) == ["kubectl", "--context", context, "-n", "team", *words]
    assert f"'{context}'" in line
