"""The commands that hand on kept models."""

import argparse

from cluster.contract import DONE
from orchestrator.cli.shared import open_console, open_store
from orchestrator.errors import SweepError
from workers.trial import TrialError


def model(args: argparse.Namespace) -> int:
    """Write the model of a trial as a Hugging Face folder, and upload it if asked."""
    from orchestrator.models.card import FILL_IN, make_card
    from orchestrator.models.folder import CARD, push, refuse_folder, write_folder
    from orchestrator.models.kept import open_model

    store = open_store(args.results)
    folder = refuse_folder(args.folder)
    opened = open_model(store, args.trial, args.base)
    write_folder(opened, make_card(store, opened.row, opened.kept.spec), folder)
    console = open_console()
    console.print(f"{folder}: the model of trial {opened.row['trial_id']}", soft_wrap=True)
    console.print(f"Its licence is yours to say: {folder / CARD} has {FILL_IN!r}", soft_wrap=True)
    if args.push is not None:
        console.print(f"Uploaded: {push(folder, args.push)}", soft_wrap=True)
    return DONE


def predict(args: argparse.Namespace) -> int:
    """Tag a text with the model of a trial."""
    from orchestrator.models.kept import open_model
    from orchestrator.models.tagging import read_sentences, show, show_words, tag

    store = open_store(args.results)
    opened = open_model(store, args.trial, args.base)
    corpus = opened.kept.spec.corpus
    sentences = read_sentences(args.file, corpus.tags, corpus.scheme)
    try:
        tagged = tag(opened, sentences)
    except TrialError as error:
        raise SweepError(str(error)) from error
    for line in (show_words if args.words_only else show)(tagged):
        print(line)
    return DONE
