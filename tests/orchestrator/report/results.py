"""Results of all sorts of badness, for which a report must still be made."""

from dataclasses import replace

from tests.factories import make_trial_spec
from tests.orchestrator.analysis.committing import commit, commit_together, fail


def planned_only(store):
    store.write_plan("demo", [make_trial_spec(seed=seed) for seed in range(2)])


def one_trial(store):
    commit(store, "sw", 0.5, 0, 0.5)


def no_dense_trials(store):
    for seed in range(2):
        commit(store, "sw", 0.5, seed, 0.5)


def dense_only(store):
    commit(store, "sw", 0.0, 0, 0.5)


def all_failed(store):
    specs = [make_trial_spec(seed=seed) for seed in range(2)]
    store.write_plan("demo", specs)
    for spec in specs:
        fail(store, spec, "bad_data", "no <b>sentences</b>")


def one_seed(store):
    for language in ("sw", "yo"):
        commit(store, language, 0.0, 0, 0.5)
        commit(store, language, 0.5, 0, 0.25)


def one_sparsity(store):
    for seed in range(3):
        commit(store, "sw", 0.0, seed, 0.5 + 0.01 * seed)
        commit(store, "sw", 0.5, seed, 0.4 + 0.02 * seed)


def holes_everywhere(store):
    """Of each language another sparsity and seed; most of what is planned is missing or failed."""
    specs = [
        make_trial_spec(language=language, target_sparsity=sparsity, seed=seed)
        for language in ("sw", "yo", "xx")
        for sparsity in (0.0, 0.5, 0.9)
        for seed in range(2)
    ]
    store.write_plan("demo", specs)
    commit(store, "sw", 0.0, 0, 0.5)
    commit(store, "sw", 0.9, 1, 0.25)
    commit(store, "yo", 0.5, 0, 0.0)
    commit(store, "xx", 0.0, 1, 0.5)
    commit(store, "xx", 0.5, 1, 0.5)
    fail(store, specs[1], "non_finite", "the loss is nan")


def two_sweeps_of_several_settings(store):
    for lr in (1e-5, 3e-5):
        spec = make_trial_spec()
        training = replace(spec.training, lr=lr)
        for sparsity in (0.0, 0.5):
            for seed in range(2):
                commit(store, "sw", sparsity, seed, 0.5 - sparsity / 5, training=training)
    for sparsity in (0.0, 0.5):
        commit_together(store, sparsity, 0, {"sw": 0.5, "yo": 0.4})


ALL = (
    planned_only,
    one_trial,
    no_dense_trials,
    dense_only,
    all_failed,
    one_seed,
    one_sparsity,
    holes_everywhere,
    two_sweeps_of_several_settings,
)
