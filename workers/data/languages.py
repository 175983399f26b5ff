"""All that trials need of a language: its sentences, their sub-words and what training has met of
them.

Each is loaded, encoded and described once a process (see `workers.data.cache`) and handed down from
`workers.run` to training and scoring, which look nothing up.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from workers.data.align import EncodedSplit, encode_text, load_encoded
from workers.data.cache import LOADED
from workers.data.corpus import (
    fingerprint_folder,
    fingerprint_language,
    fingerprint_scored,
    fingerprints_before,
    load_table,
)
from workers.data.entities import (
    FlatSentences,
    SentenceFacts,
    TrainText,
    describe_text,
    flatten_table,
    join_texts,
    sentence_facts,
    unflatten,
)
from workers.trial import (
    CLEAN,
    CorpusSpec,
    ModelSpec,
    TrialError,
    TrialSpec,
    combine_fingerprints,
    digest,
)


@dataclass(frozen=True, kw_only=True)
class ScoredText:
    """Sentences that a model is scored on, as published or perturbed.

    Attributes:
        language: code of their language.
        split: validation or test.
        perturbation: `none` for published sentences.
        draw: which of the perturbation's draws, from 0.
        text: words and labels.
        encoded: the same sentences as sub-words.
        facts: what of each sentence the train split of the language has.
        num_replaced: int64 (num_sentences, num_types), replaced entities in the order of
            `text.tags`; None for published sentences.
    """

    language: str
    split: str
    perturbation: str
    draw: int
    text: FlatSentences
    encoded: EncodedSplit
    facts: SentenceFacts
    num_replaced: np.ndarray | None = None

    def describe(self) -> dict[str, Any]:
        """What is stored of the sentences, by the names of `workers.result.SentenceSet`."""
        sentences = unflatten(self.text)
        return {
            "language": self.language,
            "split": self.split,
            "perturbation": self.perturbation,
            "draw": self.draw,
            "tokens": sentences.tokens,
            "gold": [self.text.tags.as_tags(labels) for labels in sentences.labels],
            "num_subwords": self.encoded.num_subwords_of_sentences.tolist(),
            "num_unseen_entities": self.facts.num_unseen_entities.tolist(),
            "is_seen": self.facts.is_seen.tolist(),
        }

    @cached_property
    def set_id(self) -> str:
        """16 hexadecimal digits that stand for all that is stored of the sentences."""
        return digest(self.describe())


@dataclass(frozen=True, kw_only=True)
class LanguageSource:
    """Where a language's data come from: equal sources give equal data.

    Attributes:
        corpus: with the fingerprint of this language's files alone.
        language: its code.
        model: whose sub-words are made.
        max_length: longest sequence in sub-words, specials included.
    """

    corpus: CorpusSpec
    language: str
    model: ModelSpec
    max_length: int


@dataclass(frozen=True, kw_only=True)
class LanguageData:
    """One language of a trial.

    Attributes:
        source: what decides all of this.
        train: what a model is trained on.
        scored: the splits that are scored, by name.
    """

    source: LanguageSource
    train: EncodedSplit
    scored: Mapping[str, ScoredText]

    @property
    def language(self) -> str:
        """The language's code."""
        return self.source.language

    @property
    def splits(self) -> dict[str, EncodedSplit]:
        """All that a trial reads as sub-words, by split: train, then what is scored."""
        return {"train": self.train} | {name: text.encoded for name, text in self.scored.items()}


@dataclass(frozen=True, kw_only=True)
class TrialData:
    """All that a trial reads of its corpus.

    Attributes:
        languages: in the order of the trial's.
        train_texts: by code, of the trial's languages: what it is trained on.
        zero_shot: the splits of the languages that it is scored on and not trained on.
        whole_texts: by code, of those languages that give entities to another one, their whole
            train split, whatever of it is held out.
        donor_texts: by code, of all that give entities, themselves among them, the split that gives
            them; of train as a whole, too.
    """

    languages: Sequence[LanguageData]
    zero_shot: Sequence[ScoredText]
    train_texts: Mapping[str, TrainText]
    whole_texts: Mapping[str, TrainText]
    donor_texts: Mapping[str, TrainText]


@dataclass(frozen=True, kw_only=True)
class CorpusFiles:
    """Fingerprints of a trial's files, by language; None where the corpus is in no folder.

    Attributes:
        of_languages: of all files of each of the trial's languages.
        of_train: of the train split of each of them and of each donor.
        of_donors: of the split of each language that gives entities that gives them.
    """

    of_languages: Mapping[str, str | None]
    of_train: Mapping[str, str | None]
    of_donors: Mapping[str, str | None]


def check_files(spec: TrialSpec) -> CorpusFiles:
    """Look at a trial's corpus files, once for all that needs their fingerprints.

    A trial's id names the content of its files; another content would be another trial.

    Args:
        spec: the trial.

    Raises:
        TrialError: kind `bad_data`, when a file is missing, or has changed since the sweep was
            planned.
    """
    robustness = spec.robustness
    donors = [] if robustness is None else robustness.donor_languages
    with_donors = sorted({*spec.languages, *donors})
    giving = sorted(
        {code for pool in robustness.pools for code in pool.donors} if robustness else ()
    )
    if spec.corpus.kind != "path":
        return CorpusFiles(
            of_languages=dict.fromkeys(spec.languages, spec.corpus.fingerprint),
            of_train=dict.fromkeys(with_donors, None),
            of_donors=dict.fromkeys(giving, None),
        )

    folder = Path(str(spec.corpus.path))
    files = CorpusFiles(
        of_languages={code: fingerprint_language(folder, code) for code in spec.languages},
        of_train={code: fingerprint_folder(folder, code, ["train"]) for code in with_donors},
        of_donors={
            code: fingerprint_folder(folder, code, [robustness.donor_split])
            for code in giving
            if robustness is not None
        },
    )
    planned, present = spec.corpus.fingerprint, combine_fingerprints(files.of_languages)
    # Results of an earlier version know the same files by another fingerprint, which then stays.
    if present != planned and planned in fingerprints_before(folder, spec.languages):
        present = planned
    refuse_change(_name_files(folder, spec.languages), planned, present)
    if robustness is not None:
        splits = robustness.donor_splits
        refuse_change(
            _name_files(folder, donors),
            robustness.donor_fingerprint,
            combine_fingerprints(
                {code: fingerprint_folder(folder, code, splits) for code in donors}
            ),
        )
    for code, fingerprint in spec.evaluation.zero_shot.items():
        refuse_change(_name_files(folder, [code]), fingerprint, fingerprint_scored(folder, code))
    return files


def refuse_change(where: str, planned: str | None, present: str | None) -> None:
    """Compare a fingerprint with that of the plan.

    Args:
        where: the files, in words.
        planned: their fingerprint when the sweep was planned.
        present: their fingerprint now.

    Raises:
        TrialError: kind `bad_data`, when they differ.
    """
    if present != planned:
        raise TrialError(
            "bad_data",
            f"{where} has changed since the sweep was planned ({planned}, now {present}); "
            "run the sweep again, which plans it anew",
        )


def _name_files(folder: Path, languages: Sequence[str]) -> str:
    names = languages[0] if len(languages) == 1 else "{" + ",".join(languages) + "}"
    return f"corpus.path: {folder}/{names}"


def load_trial_data(spec: TrialSpec, files: CorpusFiles) -> Generator[None, None, TrialData]:
    """Load a trial's languages, and what of others takes the place of their entities.

    So that whatever is wrong with the data is found before a model is trained.

    Args:
        spec: the trial.
        files: from `check_files`.

    Yields:
        Between two languages, so that a trial can be stopped there.

    Raises:
        TrialError: kind `bad_data`, see `workers.data.corpus` and `workers.data.tokenizer`.
    """
    robustness = spec.robustness
    others = [] if robustness is None else robustness.donor_languages
    train_texts: dict[str, TrainText] = {}
    whole_texts: dict[str, TrainText] = {}
    for code, fingerprint in files.of_train.items():
        if train_texts or whole_texts:
            yield
        corpus = replace(spec.corpus, fingerprint=fingerprint)
        if code in spec.languages:
            train_texts[code] = load_text(corpus, code)
        if code in others:
            whole_texts[code] = load_text(as_donor(corpus), code)

    donor_split = "train" if robustness is None else robustness.donor_split
    donor_texts: dict[str, TrainText] = {}
    for code, fingerprint in files.of_donors.items():
        yield
        corpus = as_donor(replace(spec.corpus, fingerprint=fingerprint))
        donor_texts[code] = load_text(corpus, code, donor_split)

    languages: list[LanguageData] = []
    for code in spec.languages:
        if languages:
            yield
        source = LanguageSource(
            corpus=replace(spec.corpus, fingerprint=files.of_languages[code]),
            language=code,
            model=spec.model,
            max_length=spec.training.max_length,
        )
        languages.append(load_language(source, spec.evaluation.splits, train_texts[code]))

    zero_shot: list[ScoredText] = []
    trained = {language.source: train_texts[language.language] for language in languages}
    for code, fingerprint in spec.evaluation.zero_shot.items():
        yield
        source = LanguageSource(
            corpus=replace(spec.corpus, fingerprint=fingerprint),
            language=code,
            model=spec.model,
            max_length=spec.training.max_length,
        )
        zero_shot += [load_zero_shot(source, split, trained) for split in spec.evaluation.splits]
    return TrialData(
        languages=languages,
        zero_shot=zero_shot,
        train_texts=train_texts,
        whole_texts=whole_texts,
        donor_texts=donor_texts,
    )


def as_donor(corpus: CorpusSpec) -> CorpusSpec:
    """How a language is read that gives entities to another one: as a whole. What is held out is a
    matter of the trial's own languages, and each gets the same entities from the same donors."""
    return replace(corpus, validation_from_train=None)


def load_zero_shot(
    source: LanguageSource, split: str, trained: Mapping[LanguageSource, TrainText]
) -> ScoredText:
    """A split of a language that a trial is not trained on, made once a process.

    Args:
        source: the language, with the fingerprint of the splits that may be scored.
        split: which of them.
        trained: the train splits of the trial's languages. A sentence is seen, and an entity is
            not unseen, where any of them has it.

    Raises:
        TrialError: kind `bad_data`, see `workers.data.corpus` and `workers.data.tokenizer`.
    """

    def load() -> ScoredText:
        def encode(text: FlatSentences) -> EncodedSplit:
            return encode_text(source.corpus, source.model, text, source.max_length)

        return _load_scored(source, split, join_texts(list(trained.values())), encode)

    return LOADED.get(("zero-shot", source, split, tuple(trained)), load)


def load_text(corpus: CorpusSpec, language: str, split: str = "train") -> TrainText:
    """What a split of a language says: 7 MiB for the largest train splits of WikiANN.

    Args:
        corpus: with the fingerprint of this split of the language, None where it has none.
        language: its code.
        split: train, validation or test.

    Raises:
        TrialError: kind `bad_data`, see `workers.data.corpus`.
    """
    # The limit that has no say makes no difference.
    if split == "train":
        corpus = replace(corpus, max_eval_sentences=None)
    else:
        corpus = replace(corpus, max_train_sentences=None)
    return LOADED.get(
        ("text", corpus, language, split),
        lambda: describe_text(flatten_table(load_table(corpus, language, split), corpus.tags)),
    )


def load_language(
    source: LanguageSource, splits: Sequence[str], train_text: TrainText
) -> LanguageData:
    """One language: from this process' memory, else from its files.

    Args:
        source: what is wanted.
        splits: those that are scored.
        train_text: of the same language.

    Raises:
        TrialError: kind `bad_data`, see `workers.data.corpus` and `workers.data.tokenizer`.
    """

    def load() -> LanguageData:
        train = _encode(source, "train", train_text.text)
        scored = {
            split: _load_scored(source, split, train_text, partial(_encode, source, split))
            for split in splits
        }
        return LanguageData(source=source, train=train, scored=scored)

    return LOADED.get(("language", source, tuple(splits)), load)


def _load_scored(
    source: LanguageSource,
    split: str,
    train_text: TrainText,
    encode: Callable[[FlatSentences], EncodedSplit],
) -> ScoredText:
    text = flatten_table(load_table(source.corpus, source.language, split), source.corpus.tags)
    return ScoredText(
        language=source.language,
        split=split,
        perturbation=CLEAN,
        draw=0,
        text=text,
        encoded=encode(text),
        facts=sentence_facts(train_text, text),
    )


def _encode(source: LanguageSource, split: str, text: FlatSentences) -> EncodedSplit:
    return load_encoded(
        source.corpus, source.model, source.language, split, source.max_length, text
    )
