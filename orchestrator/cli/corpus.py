"""`sparsweep corpus`: what would be read of a corpus, before anything is trained."""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from cluster.contract import BAD_INPUT, DONE
from orchestrator.cli.shared import load_sweep, open_console
from orchestrator.errors import SpecError, SweepError
from orchestrator.planning.plan import (
    PlannedTrial,
    describe_mended,
    describe_unfindable,
    describe_unknown_languages,
    make_plan,
)
from orchestrator.spec.sweep_spec import SweepSpec, make_sweep_spec
from orchestrator.wording import counted
from workers.trial import SPLITS, CorpusSpec, ModelSpec, TrialError

if TYPE_CHECKING:
    from workers.data.overview import SplitOverview

NO_MODEL = "none/given"
"""Stands for the model where a folder is looked at and no model was named."""

MOST_IN_HEAD = 4
"""So many entity types stand in the head of the table, and only their counts in its rows."""


def corpus(args: argparse.Namespace) -> int:
    """Show what would be read: splits, sizes, entities, what is mended, sub-words, repetitions."""
    shown: list[SplitOverview] = []
    notes: list[str] = []
    faults: list[str] = []
    for sweep in _sweeps(args):
        try:
            planned = make_plan(sweep)
            of_languages = _corpora(sweep, planned)
            tokenizer, missing = _tokenizer(planned[0].spec.model, planned[0].spec.corpus)
            for code, read in of_languages.items():
                shown += _describe(sweep, code, read, tokenizer)
        except (SweepError, TrialError) as error:
            faults += str(error).splitlines()
            continue
        notes += [*describe_mended(planned), *describe_unfindable(planned), *missing]
        notes += _describe_languages(sweep, planned)
    if args.json:
        rows = [asdict(one) for one in shown]
        print(json.dumps({"splits": rows, "notes": notes, "faults": faults}))
    else:
        _print(shown, list(dict.fromkeys(notes)), faults)
    return BAD_INPUT if faults else DONE


def _sweeps(args: argparse.Namespace) -> Iterator[SweepSpec]:
    """The sweep; of a corpus folder one for each of its languages."""
    path = Path(args.spec)
    if not path.is_dir():
        yield load_sweep(args)
        return
    codes = languages_of(path)
    if not codes:
        raise SpecError(
            f"{path}: no language is there; it holds one folder a language with train or test, "
            "or files with a column language"
        )
    for code, splits in codes.items():
        fields = {
            "name": "corpus",
            "results": "none",
            "languages": [code],
            "sparsities": [0],
            "seeds": [0],
            "corpus": {"path": str(path)},
            "model": {"name": NO_MODEL},
            "evaluation": {"splits": [split for split in splits if split != "train"] or ["test"]},
        }
        yield make_sweep_spec(fields, str(path), args.set)


def languages_of(path: Path) -> dict[str, list[str]]:
    """The languages of a corpus folder, and the splits that each has.

    Args:
        path: the folder.
    """
    from workers.data.corpus_files import has_split, languages_of_files

    shared = languages_of_files(path)
    codes = shared or sorted(entry.name for entry in path.iterdir() if entry.is_dir())
    found = {}
    for code in codes:
        splits = []
        for split in SPLITS:
            try:
                is_there = has_split(path, code, split)
            except TrialError:
                is_there = True  # planning says what is wrong
            splits += [split] if is_there else []
        if splits:
            found[code] = splits
    return found


def _corpora(sweep: SweepSpec, planned: Sequence[PlannedTrial]) -> dict[str, CorpusSpec]:
    """How each language is read, those that are only scored included."""
    # Trials on the same languages have one corpus.
    of_trained = {code: trial.spec.corpus for trial in planned for code in trial.spec.languages}
    return dict.fromkeys(sweep.evaluation.languages, planned[0].spec.corpus) | of_trained


def _tokenizer(model: ModelSpec, corpus: CorpusSpec) -> tuple[Any, list[str]]:
    """The model's tokenizer, or why there is none."""
    if model.name == NO_MODEL:
        return None, [
            "sub-words: not shown; name the model whose tokenizer makes them, as in "
            "--set model.name=FOLDER"
        ]
    from workers.data.tokenizer import load_tokenizer

    try:
        return load_tokenizer(model, corpus), []
    except TrialError as error:
        return None, [f"sub-words: not shown; {error}"]


def _describe(
    sweep: SweepSpec, code: str, corpus: CorpusSpec, tokenizer: Any
) -> "list[SplitOverview]":
    from workers.data.overview import describe_language

    is_trained = code in sweep.languages
    splits = [*(["train"] if is_trained else []), *sorted(sweep.evaluation.splits, reverse=True)]
    return describe_language(corpus, code, splits, tokenizer, sweep.training.max_length)


def _describe_languages(sweep: SweepSpec, planned: Sequence[PlannedTrial]) -> list[str]:
    """What sweep or corpus say of languages, and which nobody knows enough of."""
    lines = []
    for code in dict.fromkeys((*sweep.languages, *sweep.evaluation.languages)):
        if code in sweep.language_table:
            known = sweep.find_language(code)
            facts = [getattr(known, name) for name in ("script", "family", "branch", "tier")]
            lines.append(f"{code}: {', '.join(filter(None, facts))}")
    return lines + describe_unknown_languages(sweep, planned)


def _print(shown: "Sequence[SplitOverview]", notes: Sequence[str], faults: Sequence[str]) -> None:
    console = open_console()
    if shown:
        console.print(_table(shown))
        console.print(
            "repeated: sentences with the words of one before them; in train: with those of a "
            "train sentence; sub-words: of a sentence, median, 95 % and the longest; where there "
            "are any, I-: entities that begin with I-, unknown: sub-words that the model does not "
            "have",
            soft_wrap=True,
        )
    for one in shown:
        if one.subwords is not None and one.subwords.num_split:
            console.print(
                f"{one.language} {one.split}: {counted(one.subwords.num_split, 'sentence')} longer "
                "than training.max_length, split between words",
                soft_wrap=True,
            )
    for line in notes:
        console.print(line, soft_wrap=True)
    for line in faults:
        console.print(f"fault: {line}", soft_wrap=True)


def _table(shown: "Sequence[SplitOverview]") -> Table:
    """A row a split. Columns of which nothing is to be told are left out."""
    columns = {
        "lang": [one.language for one in shown],
        "split": [one.split for one in shown],
        "sentences": [f"{one.num_sentences:,}" for one in shown],
        "words": [f"{one.num_words:,}" for one in shown],
        "repeated": [f"{one.num_repeated:,}" for one in shown],
        "in train": ["" if one.num_of_train is None else f"{one.num_of_train:,}" for one in shown],
        "I-": [f"{one.num_unstarted:,}" if one.num_unstarted else "" for one in shown],
        "sub-words": [_lengths(one) for one in shown],
        "unknown": [_unknown(one) for one in shown],
    }
    types = list(dict.fromkeys(name for one in shown for name in one.entities))
    if len(types) <= MOST_IN_HEAD:
        columns[" ".join(types)] = [
            " ".join(f"{one.entities.get(name, 0):,}" for name in types) for one in shown
        ]
    else:
        columns["entities"] = [
            ", ".join(f"{name} {number:,}" for name, number in one.entities.items())
            for one in shown
        ]
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    table = Table(box=None, pad_edge=False)
    for name in columns:
        is_word = name in ("lang", "split", "entities")
        table.add_column(
            name,
            justify="left" if is_word else "right",
            no_wrap=name not in ("in train", "entities"),
        )
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table


def _lengths(one: "SplitOverview") -> str:
    """Lengths of sentences in sub-words: median, 95 % and the longest."""
    lengths = one.subwords.lengths.values() if one.subwords else ()
    return "/".join(f"{length:,}" for length in lengths)


def _unknown(one: "SplitOverview") -> str:
    """The share of sub-words that the tokenizer does not know."""
    if one.subwords is None or not one.subwords.num_unknown:
        return ""
    return f"{one.subwords.num_unknown / one.subwords.num_subwords:.2%}"
