"""A small BERT-like tokenizer, trained on the spot, for models that are not downloaded.

A randomly initialised encoder needs sub-words, and the embedded corpus must work without a network;
so its tokenizer is trained from that corpus. Pretrained encoders bring their own, and nothing here
touches those.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from workers.data.synthetic import LANGUAGES, make_sentences

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Their ids are their indices."""

SMALL_VOCAB_SIZE = 8000
"""Entries of `small_tokenizer`, of which 2426 are single characters, most of them Chinese or
Korean. Measured on test splits, sub-words a word: English 1.5, German 1.7, Georgian 2.8; with 6000
entries 1.6, 1.8 and 3.3."""

_CONTINUATION = "##"

# The trainer keeps 1000 characters unless told otherwise, fewer than the Chinese sentences alone
# have.
_UNLIMITED_ALPHABET = 1_000_000


def small_tokenizer(seed: int, languages: Iterable[str] | None = None) -> "PreTrainedTokenizerFast":
    """Train the tokenizer of the embedded corpus, on the words of its train splits.

    Args:
        seed: the corpus seed, as in `make_sentences`.
        languages: whose words to train on; all of the corpus by default. Their order does not
            matter.

    Returns:
        A tokenizer of at most `SMALL_VOCAB_SIZE` sub-words, the same in every process; for words
        use `is_split_into_words=True`.

    Raises:
        ValueError: a language is not in the embedded corpus.
    """
    from transformers import PreTrainedTokenizerFast

    texts: list[list[str]] = []
    for language in sorted(set(LANGUAGES if languages is None else languages)):
        texts += make_sentences(language, "train", seed)[0]
    pad, unk, cls, sep, mask = SPECIAL_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=train_wordpiece(texts, SMALL_VOCAB_SIZE),
        pad_token=pad,
        unk_token=unk,
        cls_token=cls,
        sep_token=sep,
        mask_token=mask,
        model_max_length=512,
    )


def train_wordpiece(texts: Iterable[list[str]], vocab_size: int) -> "Tokenizer":
    """Train a cased WordPiece tokenizer that works as BERT's does.

    Equal words, in any order, give an equal tokenizer.

    Args:
        texts: sentences, each as its words.
        vocab_size: entries asked for, special ones included. Fewer result where the words hold no
            more; more where their characters alone are more, since every one of them is kept.

    Returns:
        A tokenizer that writes `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`.

    Raises:
        ValueError: there are no words.
    """
    from tokenizers import decoders, models, processors

    words = sorted(word for text in texts for word in text)
    if not words:
        raise ValueError("texts: 0 words to train on; give sentences of at least one word")
    entries = models.WordPiece(
        _learn_entries(words, vocab_size),
        unk_token=SPECIAL_TOKENS[1],
        continuing_subword_prefix=_CONTINUATION,
    )
    tokenizer = _assemble(entries)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, SPECIAL_TOKENS.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.decoder = decoders.WordPiece(prefix=_CONTINUATION)
    return tokenizer


def _assemble(model: Any) -> "Tokenizer":
    """A tokenizer that cuts text into words as BERT's does, before the model cuts words."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers

    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _learn_entries(words: list[str], vocab_size: int) -> dict[str, int]:
    """The ids of all sub-words that are learned from words, which are sorted.

    WordPieceTrainer numbers the continuations of characters ("##a") in the order of a hash table
    that differs from process to process, and breaks ties between merges by those numbers. Naming
    them beforehand, in order, fixes both; they are named as special tokens, the only entries that
    it takes. So the tokenizer that is trained here is of no use but for its entries.
    """
    from tokenizers import models, trainers

    tokenizer = _assemble(models.WordPiece(unk_token=SPECIAL_TOKENS[1]))
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL_TOKENS, *_continued_characters(tokenizer, words)],
        limit_alphabet=_UNLIMITED_ALPHABET,
        continuing_subword_prefix=_CONTINUATION,
        show_progress=False,
    )
    tokenizer.train_from_iterator(words, trainer)
    entries: dict[str, int] = tokenizer.get_vocab()
    return entries


def _continued_characters(tokenizer: "Tokenizer", words: list[str]) -> list[str]:
    """All characters that do not begin what the tokenizer takes for a word, as "##a", sorted."""
    text = tokenizer.normalizer.normalize_str(" ".join(words))
    pieces = {piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)}
    return sorted({_CONTINUATION + character for piece in pieces for character in piece[1:]})
