"""Which languages give entities to the perturbed test sets of which.

A pool may be empty by nature: no other of the 40 languages is written in Greek letters. That is no error; the trial's
row says so.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from orchestrator.errors import SpecError
from orchestrator.languages import LANGUAGES
from orchestrator.sweep_spec import SweepSpec
from workers.trial import DonorPool, Perturbation, RobustnessSpec, combine_fingerprints

SHARED: dict[Perturbation, tuple[str, Callable[[str], str]]] = {
    "within_script": ("script", lambda code: LANGUAGES[code].script),
    "within_family": ("family", lambda code: LANGUAGES[code].family),
}
"""What donor and receiver have in common."""


def resolve_robustness(sweep: SweepSpec, codes: Collection[str], folder: Path | None) -> RobustnessSpec | None:
    """The perturbed test sets of trials on these languages; None where the sweep asks for none.

    Args:
        sweep: what was asked.
        codes: the languages of the trials.
        folder: of the corpus; None where it is not in one.

    Raises:
        SpecError, TrialError: a donor is unknown, or the corpus does not have it.
    """
    asked = sweep.robustness
    if not asked.perturbations:
        return None
    available = _available_donors(sweep, folder)
    spec = RobustnessSpec(
        perturbations=tuple(asked.perturbations),
        draws=asked.draws,
        seed=asked.seed,
        donor_fingerprint=None,
        pools=tuple(_pool(code, perturbation, available) for code in codes for perturbation in asked.perturbations),
    )
    if folder is None:
        return spec
    from workers.data.corpus import fingerprint_folder

    fingerprints = {code: fingerprint_folder(folder, code, ["train"]) for code in spec.donor_languages}
    return replace(spec, donor_fingerprint=combine_fingerprints(fingerprints))


def _available_donors(sweep: SweepSpec, folder: Path | None) -> list[str]:
    """Languages that may give entities, sorted."""
    asked = sweep.robustness.donors
    for code in asked or ():
        if code not in LANGUAGES:
            raise SpecError(
                f"robustness.donors: {code!r} is no language whose script and family are known; "
                f"accepted: {', '.join(LANGUAGES)}"
            )
    if asked is not None:
        return sorted(asked)
    if folder is not None:
        return [code for code in LANGUAGES if (folder / code).is_dir()]
    if sweep.corpus.kind == "synthetic":
        from workers.data import synthetic

        return [code for code in LANGUAGES if code in synthetic.LANGUAGES]
    return list(LANGUAGES)


def _pool(code: str, perturbation: Perturbation, available: Collection[str]) -> DonorPool:
    if perturbation == "within_language":
        return DonorPool(language=code, perturbation=perturbation, donors=(code,), reason=None)
    kind, shared = SHARED[perturbation]
    if code not in LANGUAGES:
        reason = f"{code} is none of the 40 languages whose {kind} is known"
        return DonorPool(language=code, perturbation=perturbation, donors=(), reason=reason)
    donors = tuple(other for other in available if other != code and shared(other) == shared(code))
    nobody = None if donors else f"no other language of the corpus shares its {kind}, {shared(code)}"
    return DonorPool(language=code, perturbation=perturbation, donors=donors, reason=nobody)
