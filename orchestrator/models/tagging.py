"""A text and its tags: read from a file, predicted by a model, shown on a terminal."""

import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.errors import SweepError
from orchestrator.models.kept import OpenedModel
from workers.tags import TagSet
from workers.trial import Scheme, TrialError

STDIN = "-"


@dataclass(frozen=True)
class Sentence:
    """Words with their tags.

    Attributes:
        words: at least one.
        gold: the true tags, as many; None where they are not known.
        predicted: what a model gave them; empty before that.
        confidence: the probability of each of these, in [0, 1].
    """

    words: list[str]
    gold: list[str] | None = None
    predicted: Sequence[str] = ()
    confidence: Sequence[float] = ()


def read_sentences(file: str, tags: TagSet, scheme: Scheme = "auto") -> list[Sentence]:
    """The sentences of a text.

    A file whose lines are columns is read as one of a corpus (`workers.data.text_files`): a word a
    line with its tag, of whatever scheme. Any other has a sentence a line, whose words are what
    spaces separate, without the punctuation around them, which counts as words of its own.

    Args:
        file: its path, compressed where that ends in .gz; `-`: standard input.
        tags: that the model tells apart.
        scheme: of the tags, as its corpus was read.

    Raises:
        SweepError: it cannot be read, is no UTF-8, holds nothing, or a line or a tag is wrong.
    """
    from workers.data.text_files import read_lines

    path, opened = Path(file), None
    if file == STDIN:
        path, opened = Path("standard input"), sys.stdin.buffer
    try:
        lines = list(read_lines(path, opened))
        texts = [line for _, line in lines]
        is_tagged = _are_columns(texts)
        sentences = list(_tagged(path, lines, tags, scheme) if is_tagged else _plain(texts))
    except OSError as error:
        raise SweepError(f"{path}: cannot be read ({error.strerror}); give a text file") from error
    except TrialError as error:
        raise SweepError(str(error)) from error
    if not sentences:
        raise SweepError(f"{path}: holds no words; give sentences, one a line, or token<TAB>tag")
    return sentences


def _are_columns(lines: Sequence[str]) -> bool:
    """Whether lines are of words with their tags: one has a tab, or most of them end in a tag. A
    single line that ends in O is taken for a sentence."""
    from workers.data.text_files import TAG

    if any("\t" in line for line in lines):
        return True
    rows = [parts for line in lines if (parts := line.split())]
    ends = [parts[-1] for parts in rows if len(parts) > 1 and TAG.fullmatch(parts[-1])]
    return 2 * len(ends) > len(rows) and ends != ["O"]


def _tagged(
    path: Path, lines: Sequence[tuple[int, str]], tags: TagSet, scheme: Scheme
) -> Iterator[Sentence]:
    from workers.data.corpus_files import without_prefix
    from workers.data.tagged_text import as_label_lists, to_labels
    from workers.data.text_files import read_columns

    (text,) = without_prefix([read_columns(path, lines)])
    labels, _ = to_labels(text, tags, scheme)
    table = as_label_lists(text, labels)
    for words, gold in zip(table["tokens"].to_pylist(), table["labels"].to_pylist(), strict=True):
        yield Sentence(words, tags.as_tags(gold))


def _plain(lines: Iterable[str]) -> Iterator[Sentence]:
    for line in lines:
        if words := [word for part in line.split() for word in _without_punctuation(part)]:
            yield Sentence(words)


def _without_punctuation(part: str) -> list[str]:
    """What is around a word, mark by mark, and the word."""
    first, last = 0, len(part)
    while first < last and unicodedata.category(part[first]).startswith("P"):
        first += 1
    while last > first and unicodedata.category(part[last - 1]).startswith("P"):
        last -= 1
    return [*part[:first], *([part[first:last]] if first < last else []), *part[last:]]


def tag(opened: OpenedModel, sentences: Sequence[Sentence]) -> list[Sentence]:
    """The sentences with what the model predicts, as scores are computed from it.

    Raises:
        TrialError: the tokenizer leaves nothing of a word.
    """
    import numpy as np
    import torch

    from workers.data.align import encode
    from workers.data.corpus import Sentences
    from workers.scoring.evaluate import CONFIDENCE_STEPS, predict, subwords_a_pass

    words = [sentence.words for sentence in sentences]
    device, spec = torch.device("cpu"), opened.kept.spec
    text = Sentences(words, [[0] * len(of_sentence) for of_sentence in words])
    split = encode(text, opened.tokenizer, spec.training.max_length)
    dtype = torch.bfloat16 if spec.training.precision == "bfloat16" else torch.float32
    running = predict(opened.model, split, subwords_a_pass(spec, device), device, dtype)
    while True:
        try:
            next(running)
        except StopIteration as finished:
            labels, confidences = finished.value
            break
    ends = np.cumsum([len(of_sentence) for of_sentence in words]).tolist()
    found = []
    for sentence, end in zip(sentences, ends, strict=True):
        place = slice(end - len(sentence.words), end)
        found.append(
            replace(
                sentence,
                predicted=[opened.tags[label] for label in labels[place]],
                confidence=[byte / CONFIDENCE_STEPS for byte in confidences[place].tolist()],
            )
        )
    return found


def marked(words: Sequence[str], tags: Sequence[str]) -> str:
    """The words in a line, with each entity in brackets after its type. An I- that continues
    nothing begins one, so that all tags are seen."""
    shown: list[str] = []
    before = "O"
    for word, now in zip(words, tags, strict=True):
        if now.startswith("I-") and before[2:] == now[2:]:
            shown[-1] = f"{shown[-1][:-1]} {word}]"
        else:
            shown.append(word if now == "O" else f"[{now[2:]} {word}]")
        before = now
    return " ".join(shown)


def show(sentences: Sequence[Sentence]) -> Iterator[str]:
    """A line a sentence; where the true tags are others, they follow in a second one. The last line
    says how many sentences are right, where that is known."""
    for sentence in sentences:
        yield marked(sentence.words, sentence.predicted)
        if sentence.gold is not None and list(sentence.predicted) != sentence.gold:
            yield f"  true: {marked(sentence.words, sentence.gold)}"
    known = [sentence for sentence in sentences if sentence.gold is not None]
    if known:
        right = sum(list(sentence.predicted) == sentence.gold for sentence in known)
        yield f"{len(known)} sentences, {right} as annotated; {len(known) - right} not"


def show_words(sentences: Sequence[Sentence]) -> Iterator[str]:
    """A line a word, between tabs: the word, its true tag where it is known, the predicted one and
    its probability; an empty line after each sentence."""
    for sentence in sentences:
        chances = [f"{chance:.3f}" for chance in sentence.confidence]
        known = [] if sentence.gold is None else [sentence.gold]
        for row in zip(sentence.words, *known, sentence.predicted, chances, strict=True):
            yield "\t".join(row)
        yield ""
