"""The sections of the report, in the order of a reader's questions, and their figures."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.report.figure import Figure
from orchestrator.report.figures import (
    certainty,
    disagreement,
    embeddings,
    errors,
    examples,
    groups,
    layers,
    quality,
    robustness,
    run,
    training,
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section: its name in addresses, its title, its figures in order."""

    name: str
    title: str
    figures: tuple[Figure, ...]


SECTIONS = (
    Section(name="run", title="What was run", figures=run.FIGURES),
    Section(name="quality", title="Quality", figures=quality.FIGURES),
    Section(name="groups", title="Groups of languages", figures=groups.FIGURES),
    Section(name="embeddings", title="Word embeddings", figures=embeddings.FIGURES),
    Section(name="robustness", title="Robustness", figures=robustness.FIGURES + errors.FIGURES),
    Section(
        name="changes",
        title="Disagreement",
        figures=(*disagreement.FIGURES, *examples.FIGURES),
    ),
    Section(name="layers", title="Layers", figures=layers.FIGURES),
    Section(name="training", title="Training", figures=training.FIGURES),
    Section(name="certainty", title="Is it real", figures=certainty.FIGURES),
)

FIGURES = {figure.name: figure for section in SECTIONS for figure in section.figures}
"""All figures by name."""


def needs(figures: Iterable[Figure]) -> set[str]:
    """The tables of the analysis that figures are drawn from."""
    return {name for figure in figures for name in figure.needs}
