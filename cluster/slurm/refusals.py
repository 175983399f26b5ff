"""What Slurm says when it does not take a job, and what to do: pure.

The sentences are those of Slurm's source `src/common/slurm_errno.c`, of several versions since
20.11; none but those of 22.05 were met on a real Slurm. The names of limits, which come in a line
before them, are those of Slurm's page on reason codes and of reports. A site's own filter
(`job_submit.lua`) may say anything besides.
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
    (r"node not available", "mend --nodelist in extra, or wait for the node (sinfo -R says why)"),
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


def remedy_of(refusal: str) -> str:
    """What can be done where Slurm does not take a job.

    Args:
        refusal: all that sbatch says, in one line.
    """
    return next(
        (remedy for pattern, remedy in REMEDIES if re.search(pattern, refusal)), "see the profile"
    )
