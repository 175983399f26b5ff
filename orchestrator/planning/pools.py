"""Which languages give entities to the perturbed test sets of which.

A pool may be empty by nature: none of XTREME's other languages is written in Greek letters. That is
no error; the trial's row says so, also where nobody knows what a language shares with others.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import SpecError
from orchestrator.planning.entity_types import Types, refuse_other_types
from orchestrator.spec.languages import DESCRIBE, XTREME, Language, is_in_wikiann
from orchestrator.spec.sweep_spec import SweepSpec
from workers.trial import (
    PERTURBATIONS,
    DonorPool,
    Perturbation,
    RobustnessSpec,
    TrialError,
    TrialSpec,
    combine_fingerprints,
    digest,
)

if TYPE_CHECKING:
    from workers.data.corpus import CorpusFacts

SHARED: dict[Perturbation, tuple[str, Callable[[Language], str]]] = {
    "within_script": ("script", lambda language: language.script),
    "within_family": ("family", lambda language: language.family),
    "within_branch": ("branch", lambda language: language.branch or language.family),
}
"""What donor and receiver have in common; empty where it is not known."""


class Pools:
    """Makes the perturbed test sets of a sweep's trials.

    Args:
        sweep: what was asked.
        folder: of the corpus; None where it is not in one.

    Raises:
        SpecError: a donor that was named is unknown, or the corpus does not have it.
    """

    def __init__(self, sweep: SweepSpec, folder: Path | None):
        self.asked, self.folder, self.find_language = sweep.robustness, folder, sweep.find_language
        self.splits = tuple(dict.fromkeys(("train", self.asked.donor_split)))
        present = _present(sweep, folder, self.splits)
        for code in self.asked.donors or ():
            if code not in present:
                raise SpecError(
                    f"robustness.donors: the corpus has no {' and '.join(self.splits)} split of "
                    f"{code!r}; it has {', '.join(present) or 'no language'}"
                )
            if not sweep.find_language(code).is_known:
                raise SpecError(
                    f"robustness.donors: {code!r} is no language whose script or family is known; "
                    f"{DESCRIBE}, or remove it from robustness.donors"
                )
        self.available = [
            code for code in present if self.asked.donors is None or code in self.asked.donors
        ]
        self._scheme = sweep.corpus.scheme
        self._held_out = sweep.corpus.validation_from_train
        listed = sweep.corpus.entity_types
        self._listed = None if isinstance(listed, str) else tuple(listed)
        self._facts: dict[str, CorpusFacts] = {}

    def resolve(self, codes: Collection[str], types: Types = None) -> RobustnessSpec | None:
        """The perturbed test sets of trials on these languages; None where the sweep asks for none.

        Args:
            codes: the languages.
            types: the entity types of these trials.

        Raises:
            SpecError: a donor's train split is damaged, or has other entity types.
        """
        if not self.asked.perturbations:
            return None
        perturbations = tuple(name for name in PERTURBATIONS if name in self.asked.perturbations)
        pools = tuple(
            self._pool(code, perturbation) for code in codes for perturbation in perturbations
        )
        if self.folder is not None and self.asked.donor_split != "train":
            self._refuse_held_out(codes, self.folder)
            for code in codes:  # its own train split is left out, and it may give entities itself
                self._examine(code, self.folder)
        donor_fingerprint = self._fingerprint(pools)  # which looks at all donors
        for code in {code for pool in pools for code in pool.donors} & self._facts.keys():
            refuse_other_types(self._facts[code], code, types, codes)
        return RobustnessSpec(
            perturbations=perturbations,
            draws=self.asked.draws,
            seed=self.asked.seed,
            donor_fingerprint=donor_fingerprint,
            donor_split=self.asked.donor_split,
            pools=pools,
        )

    def _refuse_held_out(self, codes: Collection[str], folder: Path) -> None:
        """Refuse to take entities from a validation split that is a part of train."""
        from workers.data.corpus import holds_out

        for code in codes if self.asked.donor_split == "validation" else ():
            if holds_out(folder, code, self._held_out):
                raise SpecError(
                    f"robustness.donor_split: {code} has no validation split but the part of train "
                    "that corpus.validation_from_train makes one of, which gives no entities; give "
                    "it one, or set robustness.donor_split=test"
                )

    def _fingerprint(self, pools: Sequence[DonorPool]) -> str | None:
        folder = self.folder
        return _fingerprint_donors(
            pools, None if folder is None else lambda code: self._examine(code, folder)
        )

    def _examine(self, code: str, folder: Path) -> str | None:
        """Check the splits of a donor that matter, once for all trials; their fingerprint."""
        from workers.data.corpus import Reading, examine_folder

        if code not in self._facts:
            reading = Reading(self._scheme, self._listed)
            try:
                self._facts[code] = examine_folder(folder, code, self.splits, reading)
            except TrialError as error:
                raise SpecError(f"robustness.donors: {error}") from error
        return self._facts[code].fingerprint

    def _pool(self, code: str, perturbation: Perturbation) -> DonorPool:
        if perturbation == "within_language":
            return DonorPool(language=code, perturbation=perturbation, donors=(code,), reason=None)
        kind, shared = SHARED[perturbation]
        own = shared(self.find_language(code))
        if not own:
            reason = f"the {kind} of {code} is not known; {DESCRIBE}"
            return DonorPool(language=code, perturbation=perturbation, donors=(), reason=reason)
        donors = tuple(
            other
            for other in self.available
            if other != code and shared(self.find_language(other)) == own
        )
        candidates = (
            "no other language of the corpus"
            if self.asked.donors is None
            else "none of robustness.donors"
        )
        nobody = None if donors else f"{candidates} shares its {kind}, {own}"
        return DonorPool(language=code, perturbation=perturbation, donors=donors, reason=nobody)


def merge_robustness(asked: TrialSpec, stored: TrialSpec) -> RobustnessSpec | None:
    """The perturbed test sets of both, with the seed, the donors and their split that are asked
    for."""
    if asked.robustness is None or stored.robustness is None:
        return asked.robustness or stored.robustness
    pools = {
        (pool.language, pool.perturbation): pool
        for robustness in (stored.robustness, asked.robustness)
        for pool in robustness.pools
    }
    merged = tuple(
        pools[code, perturbation]
        for code in asked.languages
        for perturbation in PERTURBATIONS
        if (code, perturbation) in pools
    )
    if merged == asked.robustness.pools:
        donor_fingerprint = asked.robustness.donor_fingerprint
    else:
        splits = asked.robustness.donor_splits
        donor_fingerprint = _fingerprint_donors(merged, _examiner(asked, splits))
    return replace(
        asked.robustness,
        perturbations=tuple(dict.fromkeys(pool.perturbation for pool in merged)),
        draws=max(asked.robustness.draws, stored.robustness.draws),
        donor_fingerprint=donor_fingerprint,
        pools=merged,
    )


def _examiner(spec: TrialSpec, splits: Sequence[str]) -> Callable[[str], str | None] | None:
    """What gives the fingerprint of a language's splits; None outside of folders."""
    if spec.corpus.kind != "path":
        return None
    from workers.data.corpus import fingerprint_folder

    folder = Path(str(spec.corpus.path))
    return lambda code: fingerprint_folder(folder, code, splits)


def _fingerprint_donors(
    pools: Sequence[DonorPool], examine: Callable[[str], str | None] | None
) -> str | None:
    """What identifies the entities that other languages give.

    Args:
        pools: all of a trial.
        examine: the fingerprint of a donor's files; None where donors are in no folder: who the
            donors are is enough there, since a revision identifies what they have.
    """
    codes = {code for pool in pools for code in pool.donors if code != pool.language}
    if examine is None:
        return digest([list(pool.donors) for pool in pools]) if codes else None
    return combine_fingerprints({code: examine(code) for code in sorted(codes)})


def _present(sweep: SweepSpec, folder: Path | None, splits: Sequence[str]) -> list[str]:
    """The languages that the corpus has these splits of and that may give entities, sorted."""
    asked = sweep.robustness.donors or ()
    named = {*sweep.languages, *sweep.evaluation.languages, *sweep.language_table, *asked}
    if folder is not None:
        there = {entry.name for entry in (folder.iterdir() if folder.is_dir() else ())}
        return sorted(
            code
            for code in there | named
            # A folder may have other things in it, such as one called "old", which is a language.
            if (code in named or sweep.find_language(code).family)
            and all(_is_there(folder, code, split) for split in splits)
        )
    if sweep.corpus.kind == "synthetic":
        from workers.data import synthetic

        return sorted(synthetic.LANGUAGES)
    if not sweep.corpus.is_wikiann:
        return sorted(named)
    # The rest of WikiANN gives entities where it is asked to: all of it would be read otherwise.
    return sorted({*XTREME, *(code for code in asked if is_in_wikiann(code))})


def _is_there(folder: Path, code: str, split: str) -> bool:
    from workers.data.corpus_files import has_split

    try:
        return has_split(folder, code, split)
    except TrialError:
        return True  # who reads it says what is wrong
