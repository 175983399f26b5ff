"""Trials committed to a store with numbers to work out by hand, and what an analysis makes of
them."""

import io
from dataclasses import replace

from rich.console import Console

from orchestrator.analysis.analyze import analyze
from orchestrator.analysis.show import show
from tests.factories import (
    make_circumstances,
    make_score,
    make_trial_result,
    make_trial_spec,
    make_vocabulary,
)
from workers.result import DeviceStretch


def commit(store, language, sparsity, seed, f1, *, num_train=100, **changes):
    """A monolingual trial that was scored on test, and on nothing else; returns its spec."""
    results = {name: changes.pop(name, ()) for name in ("robustness_scores", "predictions")}
    vocabulary = changes.pop("vocabulary", (make_vocabulary(language=language),))
    names = changes.pop("devices", ("A100",))
    spec = make_trial_spec(language=language, target_sparsity=sparsity, seed=seed, **changes)
    result = make_trial_result(
        scores=(make_score(language=language, f1=f1),),
        robustness=results["robustness_scores"],
        predictions=results["predictions"],
        vocabulary=vocabulary,
        num_train_sentences=num_train,
        devices=tuple(DeviceStretch(name=name, from_step=0) for name in names),
    )
    store.commit_completed(spec, result, **make_circumstances())
    return spec


def commit_with_all_scores(store, language, sparsity, seed, f1, **changes):
    """A monolingual trial with scores that must not be mixed with its micro F1 on test: those of
    validation (0.25), and of other subsets and entity types (0.125); returns its spec."""
    spec = make_trial_spec(language=language, target_sparsity=sparsity, seed=seed, **changes)
    result = make_trial_result(f1=f1)
    scores = tuple(
        score
        if score.entity_type == "micro" and score.subset == "all"
        else replace(score, f1=0.125)
        for score in result.scores
    )
    scores = tuple(replace(score, language=language) for score in scores)
    store.commit_completed(spec, replace(result, scores=scores), **make_circumstances())
    return spec


def commit_together(store, sparsity, seed, f1s, languages=()):
    """A multilingual trial of these languages (those of `f1s` if there are none), with a micro F1
    on test for each language scored; returns its spec."""
    spec = make_trial_spec(
        regime="multilingual",
        languages=tuple(sorted(languages or f1s)),
        target_sparsity=sparsity,
        seed=seed,
    )
    scores = tuple(make_score(language=language, f1=f1) for language, f1 in f1s.items())
    vocabulary = tuple(make_vocabulary(language=language) for language in spec.languages)
    result = make_trial_result(scores=scores, robustness=(), predictions=(), vocabulary=vocabulary)
    store.commit_completed(spec, result, **make_circumstances())
    return spec


def fail(store, spec, kind, message):
    store.commit_failed(spec, kind=kind, message=message, traceback=None, **make_circumstances())


def tables_of(store, split="test", only=None, **options):
    """Tables of an analysis by name, all of them or those named."""
    tables = analyze(store, split, only=only, **options)
    return {table.name: table for table in tables}


def rows_of(store, name, *columns):
    """The rows of one table of an analysis, as tuples of these columns' values."""
    rows = tables_of(store, only=[name])[name].rows
    return [tuple(row.values()) for row in rows.select(columns or rows.column_names).to_pylist()]


def shown(what, width=100):
    """Something that rich renders, as text."""
    terminal = io.StringIO()
    Console(file=terminal, width=width, markup=False, highlight=False).print(what)
    return terminal.getvalue()


def shown_tables(tables):
    return shown(show(tables))
