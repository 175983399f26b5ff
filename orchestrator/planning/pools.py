"""Which languages give entities to the perturbed test sets of which.

A pool may be empty by nature: no other of the 40 languages is written in Greek letters. That is no
error; the trial's row says so.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from orchestrator.errors import SpecError
from orchestrator.spec.languages import LANGUAGES
from orchestrator.spec.sweep_spec import SweepSpec
from workers.trial import (
    PERTURBATIONS,
    DonorPool,
    Perturbation,
    RobustnessSpec,
    TrialError,
    combine_fingerprints,
    digest,
)

SHARED: dict[Perturbation, tuple[str, Callable[[str], str]]] = {
    "within_script": ("script", lambda code: LANGUAGES[code].script),
    "within_family": ("family", lambda code: LANGUAGES[code].family),
}
"""What donor and receiver have in common."""


class Pools:
    """Makes the perturbed test sets of a sweep's trials.

    Args:
        sweep: what was asked.
        folder: of the corpus; None where it is not in one.

    Raises:
        SpecError: a donor that was named is unknown, or the corpus does not have it.
    """

    def __init__(self, sweep: SweepSpec, folder: Path | None):
        self.asked, self.folder = sweep.robustness, folder
        present = _present(sweep, folder)
        for code in self.asked.donors or ():
            if code not in LANGUAGES:
                raise SpecError(
                    f"robustness.donors: {code!r} is no language whose script and family are known; "
                    f"accepted: {', '.join(LANGUAGES)}"
                )
            if code not in present:
                raise SpecError(
                    f"robustness.donors: the corpus has no train split of {code!r}; it has {_list(present)}"
                )
        self.available = [
            code for code in present if self.asked.donors is None or code in self.asked.donors
        ]
        self._fingerprints: dict[str, str | None] = {}

    def resolve(self, codes: Collection[str]) -> RobustnessSpec | None:
        """The perturbed test sets of trials on these languages; None where the sweep asks for none.

        Raises:
            SpecError: a donor's train split is damaged.
        """
        if not self.asked.perturbations:
            return None
        perturbations = tuple(name for name in PERTURBATIONS if name in self.asked.perturbations)
        spec = RobustnessSpec(
            perturbations=perturbations,
            draws=self.asked.draws,
            seed=self.asked.seed,
            donor_fingerprint=None,
            pools=tuple(
                self._pool(code, perturbation) for code in codes for perturbation in perturbations
            ),
        )
        return replace(spec, donor_fingerprint=self._fingerprint(spec))

    def _fingerprint(self, spec: RobustnessSpec) -> str | None:
        """Of the donors' files; elsewhere of who the donors are, since a revision identifies what
        they have."""
        donors = spec.donor_languages
        if self.folder is None:
            return digest([list(pool.donors) for pool in spec.pools]) if donors else None
        return combine_fingerprints({code: self._examine(code, self.folder) for code in donors})

    def _examine(self, code: str, folder: Path) -> str | None:
        """Check a donor's train split, once for all trials; its fingerprint."""
        from workers.data.corpus import examine_folder

        if code not in self._fingerprints:
            try:
                self._fingerprints[code] = examine_folder(folder, code, ["train"]).fingerprint
            except TrialError as error:
                raise SpecError(f"robustness.donors: {error}") from error
        return self._fingerprints[code]

    def _pool(self, code: str, perturbation: Perturbation) -> DonorPool:
        if perturbation == "within_language":
            return DonorPool(language=code, perturbation=perturbation, donors=(code,), reason=None)
        kind, shared = SHARED[perturbation]
        if code not in LANGUAGES:
            reason = f"{code} is none of the 40 languages whose {kind} is known"
            return DonorPool(language=code, perturbation=perturbation, donors=(), reason=reason)
        donors = tuple(
            other for other in self.available if other != code and shared(other) == shared(code)
        )
        candidates = (
            "no other language of the corpus"
            if self.asked.donors is None
            else "none of robustness.donors"
        )
        nobody = None if donors else f"{candidates} shares its {kind}, {shared(code)}"
        return DonorPool(language=code, perturbation=perturbation, donors=donors, reason=nobody)


def _present(sweep: SweepSpec, folder: Path | None) -> list[str]:
    """Of the 40 languages those that the corpus has a train split of, sorted."""
    if folder is not None:
        return [code for code in LANGUAGES if any((folder / code).glob("train*"))]
    if sweep.corpus.kind == "synthetic":
        from workers.data import synthetic

        return [code for code in LANGUAGES if code in synthetic.LANGUAGES]
    return list(LANGUAGES)


def _list(codes: Collection[str]) -> str:
    return ", ".join(codes) or "none of the 40 languages"
