"""What Slurm says when it does not take a job, or takes it and does not start it, and what to do:
pure.

The sentences are those of Slurm's source `src/common/slurm_errno.c`, of several versions since
20.11. Those that the tests call recorded were met on a real Slurm 22.05 with accounting; no newer
Slurm was. The names of limits, which come in a line before them, are those of Slurm's page on
reason codes and of reports. A site's own filter (`job_submit.lua`) may say anything besides.
"""

import re

LIMITS = "sacctmgr show assoc user=$USER and sacctmgr show qos list the limits"
RESERVATIONS = "scontrol show reservation lists them"

REMEDIES: tuple[tuple[str, str], ...] = (
    # Limits, by the names of those that were met.
    (
        r"Max\w*WallDuration|MaxWall",
        f"lower time_limit in the profile, or set another qos ({LIMITS})",
    ),
    (
        r"(Assoc|QOS)?(Max|Grp)Submit|Max\w*JobsPer|MaxJobs",
        "you, or all of your account, may have no more jobs in the queue: wait for some to end "
        "(squeue --me), lower workers in mode elastic, or set account or qos in the profile where "
        f"none is charged by itself ({LIMITS})",
    ),
    (
        r"(Grp|Max)\w*RunMin",
        "lower time_limit, nodes or workers in the profile: what runs may use no more minutes "
        f"together ({LIMITS})",
    ),
    (
        r"Grp\w*(Minutes|Mins)|Billing",
        "the hours of account or qos are used up: set another in the profile, or ask who runs the "
        f"cluster ({LIMITS})",
    ),
    (
        r"(QOS|Assoc)(Max|Grp|Min)\w+|Max\w+Per(User|Account|Job|Node)",
        "ask for another number of nodes, GPUs or cores, or less memory in the profile, or set "
        f"another qos ({LIMITS})",
    ),
    (
        r"accounting/QOS policy",
        "a limit of account or qos does not allow so many jobs, so large a one or so long a one: "
        f"lower workers or nodes, what they ask for, or time_limit in the profile ({LIMITS})",
    ),
    (
        r"breached requested QOS usage threshold",
        "the account has used more than this qos allows: set another qos in the profile",
    ),
    # What extra names.
    (
        r"Access denied to requested reservation",
        "ask who made the reservation to let in you or your account, or leave --reservation out of "
        f"extra ({RESERVATIONS})",
    ),
    (
        r"[Rr]eservation.*(not usable|in use)",
        f"wait for the reservation's time, or leave --reservation out of extra ({RESERVATIONS})",
    ),
    (r"[Rr]eservation", f"mend --reservation in extra ({RESERVATIONS})"),
    (r"license|wckey", "mend --licenses or --wckey in extra, or ask who runs the cluster"),
    (r"time specified", "mend --begin or --deadline in extra"),
    (r"unrecognized option|[Ii]nvalid option", "mend extra in the profile"),
    # What the profile names.
    (
        r"QOS not permitted|[Ii]nvalid qos",
        "set qos in the profile to one that you, the account and the partition may use (sacctmgr "
        "show assoc user=$USER format=account,partition,qos)",
    ),
    (
        r"[Aa]ccount not permitted|[Ii]nvalid account",
        "set account in the profile, or ask the cluster's admins which you may use (sacctmgr show "
        "assoc user=$USER format=account,partition,qos)",
    ),
    (
        r"group not permitted",
        "set a partition in the profile that is open to you (scontrol show partition), or ask who "
        "runs the cluster",
    ),
    (
        r"[Pp]artition (not available|in DOWN|configuration not available)",
        "wait until the partition is up, or set another in the profile (sinfo lists them)",
    ),
    (
        r"[Ii]nvalid partition|partition specified",
        "set partition in the profile (sinfo lists them)",
    ),
    (
        r"ime limit",
        "lower time_limit in the profile (sinfo -o '%R %l' lists what partitions allow)",
    ),
    (r"feature", "set constraint in the profile to features that nodes have (sinfo -o '%f')"),
    (
        r"generic resource|TRES\) specification|gres",
        "set gpu_type and gpus_per_node in the profile to what nodes have (sinfo -o '%G')",
    ),
    (
        r"node configuration|processors requested|[Mm]emory|CPU count",
        "ask for fewer nodes, GPUs, cores or less memory in the profile (sinfo -o '%R %D %G %c "
        "%m')",
    ),
    (
        r"node not available|node name",
        "mend --nodelist in extra, or wait for the node (sinfo -R says why)",
    ),
    (r"ode count", "ask for fewer nodes in the profile"),
    (
        r"job array",
        "lower workers in the profile (scontrol show config names MaxArraySize and MaxJobCount)",
    ),
    # Slurm itself.
    (
        r"submissions disabled",
        "who runs the cluster takes no jobs now; submit again when they do",
    ),
    (
        r"Incompatible versions|[Pp]rotocol",
        "these commands are not of the cluster's version; load its module of Slurm, or submit from "
        "its login node",
    ),
    (
        r"writing script|No space|[Qq]uota",
        "Slurm's own disk is full or fails; tell who runs the cluster",
    ),
    (r"permission denied|user id", "ask who runs the cluster whether you may send jobs"),
    (
        r"[Uu]nable to contact|timed out|did not answer|Rate limit|temporarily unable|Zero Bytes"
        r"|onnection",
        "Slurm is busy or down; try again later, `sparsweep status` says whether the job arrived",
    ),
)
"""Pattern of a refusal, and what to do; the first that is found counts."""

UNANSWERED = re.compile(
    r"timed out|did not answer|Zero Bytes|receive failure|onnection (reset|timed out)"
)
"""After these a job may have arrived all the same."""


MAY_BE_LATER = re.compile(r"node configuration is not available|Invalid time specified")
"""What `sbatch --test-only` also says of a job that sbatch takes: its nodes are drained or reserved
now, or its reservation has not begun. Only sbatch itself tells these from jobs that never start."""

WAITS: tuple[tuple[str, str], ...] = (
    (
        r"MaxWall|PartitionTimeLimit",
        f"it never starts so: lower time_limit in the profile, and send it again ({LIMITS})",
    ),
    (
        r"(QOS|Assoc)(Max\w+Per(Job|Node)|Min\w+)",
        "it never starts so: ask for another number of nodes, GPUs or cores, or less memory in the "
        f"profile, and send it again ({LIMITS})",
    ),
    (
        r"Grp\w*(Minutes|Mins)|Billing|UsageThreshold",
        "the hours of account or qos are used up: set another in the profile, or ask who runs the "
        f"cluster ({LIMITS})",
    ),
    (
        r"(QOS|Assoc)(Max|Grp)\w*(Jobs|Submit)",
        f"it starts when other jobs of yours, or of the account, have ended ({LIMITS})",
    ),
    (
        r"(QOS|Assoc)(Max|Grp)|MaxGRES|MaxTRES",
        "it starts when other jobs of yours, or of the account, have ended; one that asks for more "
        f"than the limit by itself never does ({LIMITS})",
    ),
    (
        r"ReqNodeNotAvail|Nodes_required",
        "its nodes are down, drained or reserved (sinfo -R and scontrol show reservation say why)",
    ),
    (
        r"PartitionNodeLimit|PartitionConfig|BadConstraints",
        "no nodes of the partition are as the profile asks, or they are down: ask for fewer nodes, "
        "GPUs, cores or less memory (sinfo -o '%R %D %t %G %c %m')",
    ),
    (
        r"Partition(Down|Inactive)",
        "it starts when the partition is up again (sinfo); or set another in the profile",
    ),
    (r"^Reservation", f"it starts with its reservation ({RESERVATIONS})"),
    (r"Invalid(Account|QOS)", "set another account or qos in the profile, and send it again"),
    (r"JobHeldUser", "you hold it: scontrol release lets it go"),
    (r"JobHeldAdmin|held", "Slurm or an admin holds it: ask who runs the cluster"),
    (r"DependencyNeverSatisfied", "it never starts: what extra makes it wait for has failed"),
)
"""Pattern of the reason why a job waits, as `scontrol` writes it, and what that means; the first
that is found counts. What goes away by itself, such as Priority, is not here."""


def why_waits(reason: str) -> str:
    """What a person can know or do of a job that waits.

    Args:
        reason: as `scontrol` writes it, such as QOSMaxWallDurationPerJobLimit.

    Returns:
        The reason, and after a colon what it means, where that is not plain.
    """
    meaning = next((words for pattern, words in WAITS if re.search(pattern, reason)), "")
    return f"{reason}: {meaning}" if meaning else reason


def remedy_of(refusal: str) -> str:
    """What can be done where Slurm does not take a job.

    Args:
        refusal: all that sbatch says, in one line.
    """
    return next(
        (remedy for pattern, remedy in REMEDIES if re.search(pattern, refusal)), "see the profile"
    )
