"""Each of Slurm's refusals has its own remedy. The sentences are those of Slurm's slurm_errno.c,
the names of limits those of its page on reason codes and of reports."""

import re

import pytest

from cluster.slurm.refusals import (
    MAY_BE_LATER,
    REMEDIES,
    UNANSWERED,
    WAITS,
    remedy_of,
    why_waits,
)

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
    ("Invalid node name specified", "mend --nodelist in extra"),
    ("Invalid time specified", "mend --begin or --deadline in extra"),
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


# What sbatch of Slurm 22.05.8 said, with slurmdbd and AccountingStorageEnforce=associations,limits,
# qos, and the option or the limit that it was about; accounting ones with DenyOnLimit.
RECORDED = [
    ("--account", "Invalid account or account/partition combination specified", "set account"),
    ("--qos", "Invalid qos specification", "set qos"),
    ("MaxWall", f"QOSMaxWallDurationPerJobLimit {POLICY}", "lower time_limit"),
    ("MaxSubmitJobsPerUser", f"QOSMaxSubmitJobPerUserLimit {POLICY}", "you, or all of your"),
    ("MaxSubmitJobs", f"AssocMaxSubmitJobLimit {POLICY}", "you, or all of your account, may"),
    ("MaxTRESPerJob", f"QOSMaxCpuPerJobLimit {POLICY}", "ask for another number"),
    ("GrpTRES", f"QOSGrpGRES {POLICY}", "ask for another number"),
    ("MinTRESPerJob", f"QOSMinGRES {POLICY}", "ask for another number"),
    ("GrpTRESMins", f"QOSGrpCPUMinutesLimit {POLICY}", "the hours of account or qos"),
    ("another's --reservation", "Access denied to requested reservation", "ask who made"),
    ("an unknown --reservation", "Requested reservation is invalid", "mend --reservation"),
    ("--nodelist", "Invalid node name specified", "mend --nodelist"),
    ("--constraint", "Invalid feature specification", "set constraint"),
    ("--licenses", "Invalid license specification", "mend --licenses"),
    ("a drained partition", "Required partition not available (inactive or drain)", "wait until"),
]


@pytest.mark.parametrize(("_about", "refusal", "remedy"), RECORDED)
def test_what_a_real_slurm_said_has_its_remedy(_about, refusal, remedy):
    assert remedy_of(refusal).startswith(remedy)


# Reasons that scontrol of Slurm 22.05.8 gave, but for those of the last lines, which are of
# its page on reason codes.
WAITING = [
    ("QOSMaxWallDurationPerJobLimit", "it never starts so: lower time_limit"),
    ("PartitionTimeLimit", "it never starts so: lower time_limit"),
    ("QOSMaxCpuPerUserLimit", "it starts when other jobs of yours, or of the account, have ended;"),
    ("AssocMaxJobsLimit", "it starts when other jobs of yours, or of the account, have ended ("),
    ("QOSMaxJobsPerUserLimit", "it starts when other jobs of yours, or of the account, have ended"),
    ("ReqNodeNotAvail,_May_be_reserved_for_other_job", "its nodes are down, drained or reserved"),
    (
        "Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved_for_jobs_in_higher_priority_partitions",
        "its nodes are down, drained or reserved",
    ),
    ("PartitionNodeLimit", "no nodes of the partition are as the profile asks, or they are down"),
    ("PartitionConfig", "no nodes of the partition are as the profile asks, or they are down"),
    ("PartitionDown", "it starts when the partition is up again"),
    ("Reservation", "it starts with its reservation"),
    ("JobHeldUser", "you hold it"),
    ("JobHeldAdmin", "Slurm or an admin holds it"),
    ("QOSMaxGRESPerJob", "it never starts so: ask for another number of nodes"),
    ("QOSMinGRES", "it never starts so: ask for another number of nodes"),
    ("AssocGrpGRES", "it starts when other jobs of yours, or of the account, have ended; one"),
    ("AssocGrpCPUMinutesLimit", "the hours of account or qos are used up"),
    ("InvalidQOS", "set another account or qos"),
    ("DependencyNeverSatisfied", "it never starts: what extra makes it wait for has failed"),
    ("launch_failed_requeued_held", "Slurm or an admin holds it"),
]


@pytest.mark.parametrize(("reason", "meaning"), WAITING)
def test_reason_of_a_job_that_waits_is_explained(reason, meaning):
    assert why_waits(reason).startswith(f"{reason}: {meaning}")


@pytest.mark.parametrize(
    "reason",
    ["None", "Priority", "Resources", "Dependency", "BeginTime", "JobArrayTaskLimit", "Cleaning"],
)
def test_reason_that_goes_away_by_itself_is_left_as_it_is(reason):
    assert why_waits(reason) == reason


def test_every_meaning_is_met():
    met = {why_waits(reason).partition(": ")[2] for reason, _ in WAITING}
    assert {meaning for _, meaning in WAITS} == met


def test_what_may_be_later_is_no_refusal_for_good():
    unsure = {refusal for refusal, _ in SAID if MAY_BE_LATER.search(refusal)}
    assert unsure == {"Requested node configuration is not available", "Invalid time specified"}
