"""Whether the machines of a profile have the memory that trials take."""

from dataclasses import replace

import pytest

from cluster.profile_fields import Hardware
from orchestrator.errors import SweepError
from orchestrator.planning.memory import Need, TrialMemory
from orchestrator.planning.room import describe_room, num_within, refuse_no_room
from orchestrator.spec.sweep_spec import Resources

MEMORY = TrialMemory(
    of_host=Need(5.0, 3.0, "estimated"),
    of_gpu=Need(4.0, 2.0, "estimated"),
    beside_gpu=Need(3.0, 0.0, "estimated"),
)
CPUS = Hardware(num_machines=2, cpus=8, gpus=0, memory_gib=64, memory_field="worker_memory")
GPUS = replace(CPUS, gpus=2, gpu_gib=40.0)


def said(hardware, gpu="", **resources):
    return list(describe_room(MEMORY, hardware, Resources(**resources), gpu))


def refused(hardware, **resources):
    with pytest.raises(SweepError) as caught:
        refuse_no_room(MEMORY, hardware, Resources(**resources))
    # What is refused is what `plan` says.
    assert said(hardware, **resources)[-1] == str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("hardware", [CPUS, GPUS, replace(GPUS, gpu_gib=None, memory_gib=None)])
def test_where_there_is_room_or_nothing_is_known_nothing_is_said(hardware):
    assert said(hardware) == []
    refuse_no_room(MEMORY, hardware, Resources())
    assert list(describe_room(TrialMemory(), hardware, Resources())) == []


def test_trials_on_cpus_that_do_not_fit_beside_each_other_are_counted():
    assert said(replace(CPUS, memory_gib=16)) == [
        "a machine has 16.0 GiB, room for 3 trials of 5.0 GiB (estimated) and not 8: raise "
        "worker_memory of the profile, or resources.cpus_per_trial"
    ]
    assert said(replace(CPUS, memory_gib=16), cpus_per_trial=3) == []
    refuse_no_room(MEMORY, replace(CPUS, memory_gib=4), Resources())  # an estimate may be wrong
    assert num_within(4, MEMORY.of_host) == 1
    assert "worker_memory" not in said(replace(CPUS, memory_gib=16, memory_field=""))[0]


def test_weights_that_do_not_fit_into_a_machine_are_refused():
    assert refused(replace(CPUS, memory_gib=2)) == (
        "model.name: weights, gradients and moments of a trial take 3.0 GiB, and a machine has "
        "2.0 GiB; raise worker_memory, take a smaller model, or set resources.memory_gib_per_trial "
        "where that is wrong"
    )


def test_trials_on_gpus_need_memory_of_the_machine_as_well():
    small = replace(GPUS, memory_gib=16)
    assert said(small) == []
    assert said(small, gpus_per_trial=0.25) == [
        "a machine has 16.0 GiB, room for 5 trials of 3.0 GiB (estimated) and not 8: raise "
        "worker_memory of the profile, or resources.gpus_per_trial"
    ]
    # On these machines trials may also be told to compute on CPUs.
    assert "room for 3 trials of 5.0 GiB" in said(small, gpus_per_trial=0)[0]


def test_a_share_is_refused_where_the_profile_says_how_large_gpus_are():
    assert refused(GPUS, gpus_per_trial=0.04) == (
        "resources.gpus_per_trial: 0.04 of a GPU with 40 GiB is 1.6 GiB, and a trial takes 2.0 GiB "
        "without its batches; give it 0.1 or more"
    )
    (line,) = said(GPUS, gpus_per_trial=0.08)
    assert "is 3.2 GiB, and a trial takes about 4.0 GiB (estimated); where it runs out" in line


def test_what_is_only_assumed_of_gpus_is_said_and_refuses_nothing():
    unsaid = replace(GPUS, gpu_gib=None, gpu_type="h100")
    for hardware, gpu, what in (
        (unsaid, "", "0.02 of a GPU with 80 GiB (h100, assumed) is 1.6 GiB"),
        (replace(unsaid, gpu_type=None), "A100", "0.02 of a GPU with 40 GiB (A100, assumed) is"),
    ):
        (line,) = said(hardware, gpu, gpus_per_trial=0.02)
        assert what in line
        refuse_no_room(MEMORY, hardware, Resources(gpus_per_trial=0.02))
    assert said(replace(unsaid, gpu_type="mi300"), "A100", gpus_per_trial=0.02) == []
