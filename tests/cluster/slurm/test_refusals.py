"""Each of Slurm's refusals has its own remedy. The sentences are those of Slurm's slurm_errno.c,
the names of limits those of its page on reason codes and of reports."""

import re

import pytest

from cluster.slurm.refusals import REMEDIES, UNANSWERED, remedy_of

POLICY = (
    "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's "
    "size and/or time limits)"
)
SAID = [
    (f"QOSMaxWallDurationPerJobLimit {POLICY}", "lower time_limit in the profile, or set another"),
    (f"AssocMaxSubmitJobLimit {POLICY}", "you, or all of your account, may have no more jobs"),
    (f"QOSMaxSubmitJobPerUserLimit {POLICY}", "you, or all of your account, may have no more jobs"),
    (f"QOSGrpSubmitJobsLimit {POLICY}", "you, or all of your account, may have no more jobs"),
    (f"MaxGRESRunMinsPerUser {POLICY}", "lower time_limit, nodes or workers in the profile"),
    (f"AssocGrpGRESRunMinutes {POLICY}", "lower time_limit, nodes or workers in the profile"),
    (f"AssocGrpCPUMinutesLimit {POLICY}", "the hours of account or qos are used up"),
    (f"AssocGrpBillingMinutes {POLICY}", "the hours of account or qos are used up"),
    (f"QOSMaxCpuPerUserLimit {POLICY}", "ask for another number of nodes, GPUs or cores"),
    (f"QOSGrpGRES {POLICY}", "ask for another number of nodes, GPUs or cores"),
    (f"QOSMinGRES {POLICY}", "ask for another number of nodes, GPUs or cores"),
    (POLICY, "a limit of account or qos does not allow so many jobs"),
    (
        "Requested account has breached requested QOS usage threshold",
        "the account has used more than this qos allows",
    ),
    ("Requested reservation is invalid", "mend --reservation in extra"),
    ("Access denied to requested reservation", "ask who made the reservation to let in you"),
    ("Requested reservation not usable now", "wait for the reservation's time"),
    ("Requested reservation is in use", "wait for the reservation's time"),
    ("Invalid license specification", "mend --licenses or --wckey in extra"),
    ("Invalid wckey specification", "mend --licenses or --wckey in extra"),
    ("Invalid qos specification", "set qos in the profile to one that you, the account and"),
    (
        "Job's QOS not permitted to use this partition (gpu allows long not normal)",
        "set qos in the profile to one that you, the account and",
    ),
    ("Invalid account or account/partition combination specified", "set account in the profile"),
    (
        "Job's account not permitted to use this partition (gpu allows nlp not physics)",
        "set account in the profile",
    ),
    ("User's group not permitted to use this partition", "set a partition in the profile that is"),
    ("Required partition not available (inactive or drain)", "wait until the partition is up"),
    ("Partition in DOWN state", "wait until the partition is up"),
    ("Invalid partition name specified", "set partition in the profile"),
    ("No partition specified or system default partition", "set partition in the profile"),
    ("Requested time limit is invalid (missing or exceeds some limit)", "lower time_limit in the"),
    ("Invalid feature specification", "set constraint in the profile"),
    ("Invalid generic resource (gres) specification", "set gpu_type and gpus_per_node in the"),
    ("Invalid Trackable RESource (TRES) specification", "set gpu_type and gpus_per_node in the"),
    ("Requested node configuration is not available", "ask for fewer nodes, GPUs, cores or less"),
    ("Memory required by task is not available", "ask for fewer nodes, GPUs, cores or less"),
    ("More processors requested than permitted", "ask for fewer nodes, GPUs, cores or less"),
    ("Required node not available (down, drained or reserved)", "mend --nodelist in extra"),
    ("Node count specification invalid", "ask for fewer nodes in the profile"),
    ("Invalid job array specification", "lower workers in the profile"),
    ("System submissions disabled", "who runs the cluster takes no jobs now"),
    ("Incompatible versions of client and server code", "these commands are not of the cluster's"),
    ("I/O error writing script/environment to file", "Slurm's own disk is full or fails"),
    ("Access/permission denied", "ask who runs the cluster whether you may send jobs"),
    ("Invalid user id", "ask who runs the cluster whether you may send jobs"),
    ("Unable to contact slurm controller (connect failure)", "Slurm is busy or down"),
    ("Socket timed out on send/recv operation", "Slurm is busy or down"),
    ("Rate limit exceeded, please retry momentarily", "Slurm is busy or down"),
    ("something that nobody has heard of", "see the profile"),
]


@pytest.mark.parametrize(("refusal", "remedy"), SAID)
def test_each_refusal_has_its_remedy(refusal, remedy):
    assert remedy_of(refusal).startswith(remedy)


def test_every_remedy_is_met():
    met = {remedy_of(refusal) for refusal, _ in SAID}
    assert {remedy for _, remedy in REMEDIES} <= met | {"mend extra in the profile"}
    assert not [remedy for _, remedy in REMEDIES if re.search(r"[{}\n]", remedy)]


def test_only_after_a_lost_answer_a_job_may_have_arrived():
    unsure = {refusal for refusal, _ in SAID if UNANSWERED.search(refusal)}
    assert unsure == {"Socket timed out on send/recv operation"}
