"""The sweep file: every field with its meaning, unit, range and default, and the checks across
fields.

A sweep is one YAML file. It is read once, here, into models that refuse unknown keys;
`orchestrator.planning.plan` turns it into trials. Defaults are those of XTREME (Hu et al. 2020) for
named-entity recognition where it states one; the pruning defaults are ours, since Ogueji et al.
(2022) do not publish theirs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    RootModel,
    StrictInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cluster.profile_fields import NaturalInt, PositiveInt, Section
from orchestrator.errors import SpecError
from orchestrator.spec.languages import Language, find_language
from orchestrator.spec.profiles import ProfilesByName
from orchestrator.spec.yaml_models import describe_fault, read_yaml
from workers.pruning.compatibility import REGISTRIES
from workers.pruning.schedule import SCHEDULES
from workers.tags import MAX_TYPES, fault_of_type
from workers.trial import BUILTIN_MODEL, Perturbation, Regime, Scheme
from workers.visits import visiting

BUILTIN_FOLDER = Path(__file__).parents[1] / "sweeps"


def _refuse_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("input should be a number")
    return value


Number = Annotated[
    float, BeforeValidator(_refuse_bool)
]  # 1e-4 without a dot is text in YAML, and a number here
Fraction = Annotated[Number, Field(ge=0, le=1, allow_inf_nan=False)]
Sparsity = Annotated[Number, Field(ge=0, lt=1, allow_inf_nan=False)]
PositiveFloat = Annotated[Number, Field(gt=0, allow_inf_nan=False)]
NaturalFloat = Annotated[Number, Field(ge=0, allow_inf_nan=False)]
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,15}$")]
Regex = Annotated[str, Field(min_length=1)]


def _one_of(field: str) -> Any:
    """For the JSON schema; `Pruning` checks it."""
    return Field(json_schema_extra={"enum": list(REGISTRIES[field])})


def _embedding_sparsity(value: Any) -> Any:
    """YAML takes a bare `off` for false."""
    if value is False or value in ("off", "same"):
        return value or "off"
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ValueError("input should be off, same or a fraction in (0, 1)")
    return float(value)


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _entity_types(value: Any) -> Any:
    if value == "auto":
        return value
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("input should be auto or a list of names")
    for name in value:
        if fault := fault_of_type(name):
            raise ValueError(f"{name!r} cannot be an entity type: {fault}")
    if not 1 <= len(value) <= MAX_TYPES:
        raise ValueError(f"input should have 1 to {MAX_TYPES} names")
    return refuse_duplicates(value)


EmbeddingSparsity = Annotated[Literal["off", "same"] | float, BeforeValidator(_embedding_sparsity)]


def refuse_duplicates(values: list[Any]) -> list[Any]:
    """Pydantic validator: a list names each of its values once."""
    for position, value in enumerate(values):
        if value in values[:position]:
            raise ValueError(f"{value} stands twice in {values}; list each once")
    return values


class Corpus(Section):
    """Where sentences and tags come from."""

    kind: Literal["hub", "path", "synthetic"] = "hub"
    """hub: a dataset of the Hugging Face hub; path: a local folder, the default where `path` is
    given; synthetic: the embedded offline corpus."""
    name: str = "unimelb-nlp/wikiann"
    """Repository of the hub with one configuration a language; used by kind hub."""
    revision: str = "main"
    """Commit, tag or branch of that repository; planning takes the commit that it is then, which is
    a part of each trial's identity."""
    path: Annotated[str, Field(min_length=1)] | None = None
    """Folder with <language>/<split>.parquet (or all its shards) or <language>/<split>.tsv, or in
    one of the other layouts that METHODS.md lists; needed by kind path."""
    entity_types: Annotated[Literal["auto"] | list[str], BeforeValidator(_entity_types)] = "auto"
    """What entities are told apart. auto: of a folder, the types of the train splits; of others,
    WikiANN's PER, ORG and LOC. A list, such as [PER, ORG, LOC, DATE], is the order of labels, and
    of the numbers in files that do not name their tags: 0 is O, then come B- and I- of each. In
    results null stands for WikiANN's."""
    scheme: Scheme = "auto"
    """How entities are marked in files: auto, IOB2, and BIOES or BILOU where their prefixes are;
    iob1, entities begin with I-; io, nothing marks a beginning; iob2 and bioes refuse others."""
    validation_from_train: Annotated[Number, Field(gt=0, lt=1, allow_inf_nan=False)] | None = None
    """Of a language in a folder that has no validation split: this fraction of its train sentences
    becomes it, drawn once for all. null: such a language is refused where validation is scored."""
    seed: NaturalInt = 0
    """Seed of the synthetic corpus."""
    max_train_sentences: PositiveInt | None = None
    """Keep only so many training sentences of each language, the first, or those that subset_seed
    draws; null keeps all."""
    max_eval_sentences: PositiveInt | None = None
    """Keep only the first so many sentences of validation and of test; null keeps all."""
    subset_seed: NaturalInt | None = None
    """Draw the training sentences that are kept at random by this seed, for each language apart;
    fewer are always some of more. null keeps the first."""

    @property
    def is_wikiann(self) -> bool:
        """Whether it is the hub's WikiANN, whose languages and sizes are known."""
        return self.kind == "hub" and self.name.rpartition("/")[2] == "wikiann"

    @model_validator(mode="before")
    @classmethod
    def _path_is_a_kind(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("path") is not None:
            return {"kind": "path"} | fields
        return fields


class Model(Section):
    """Which encoder is fine-tuned."""

    name: Annotated[str, Field(min_length=1)] = "google-bert/bert-base-multilingual-cased"
    """Name on the Hugging Face hub, a local folder, or builtin:small-bert (a small BERT for the
    synthetic corpus)."""
    revision: str = "main"
    """Commit, tag or branch on the hub; planning takes the commit that it is then, which is a part
    of each trial's identity."""
    init: Literal["pretrained", "random"] = "pretrained"
    """pretrained: load the weights; random: the same architecture, initialised from the trial's
    seed."""


class Pruning(Section):
    """How trials with a sparsity above 0 are pruned; dense trials ignore it."""

    sparsity_schedule: Annotated[str, _one_of("sparsity_schedule")] = "cubic"
    """From initial to target sparsity between begin and end: cubic (Zhu & Gupta 2017, eq. 1) or
    linear; one_shot: to the target at begin, at once; constant: the masks are drawn before the
    first step and stay."""
    scope: Annotated[str, _one_of("scope")] = "global"
    """global: all prunable weights are ranked together; layer: each tensor reaches the target by
    itself; erk: each by itself, large ones more (Erdős–Rényi-Kernel, Evci et al. 2020). Word
    embeddings always by themselves."""
    saliency: Annotated[str, _one_of("saliency")] = "magnitude"
    """What decides which weights stay: magnitude; movement (Sanh et al. 2020);
    gradient_times_weight; random, the control."""
    granularity: Annotated[str, _one_of("granularity")] = "unstructured"
    """unstructured: single weights; n_of_m: n of each m neighbours in a row stay, as in 2:4; block:
    rectangles."""
    n_of_m: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)] | None = None
    """For granularity n_of_m: how many stay, of how many; [2, 4] for 2:4."""
    block_shape: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)] | None = None
    """For granularity block: rows and columns of a block; they must divide the shapes of all pruned
    tensors."""
    embedding_sparsity: Annotated[
        list[EmbeddingSparsity], BeforeValidator(_as_list), Field(min_length=1)
    ] = Field(default=["off"])
    """Target sparsity of the word embeddings: off (dense), same (as the rest), or a value; a list
    makes trials for each. Dense trials have dense embeddings."""
    include: list[Regex] = Field(default=[])
    """Regular expressions: of the encoder's linear layers, prune those whose weight's name one of
    them finds; all when empty. `sparsweep plan` shows the names."""
    exclude: list[Regex] = Field(default=[])
    """Regular expressions: of these, leave out those whose name one of them finds."""
    prune_head: bool = False
    """Whether the classification head is pruned, too, ranked with the encoder."""
    semantics: Literal["hard", "dense_shadow"] = "hard"
    """hard: a pruned weight is gone; dense_shadow: its value is kept and may return when masks
    change (Zhu & Gupta)."""
    initial_sparsity: Sparsity = 0.0
    """Sparsity at the first pruning step, fraction in [0, 1), at most the smallest non-zero
    target."""
    begin: Fraction = 0.1
    """First pruning step, as a fraction of all training steps; 0 under schedule constant."""
    end: Fraction = 0.7
    """Step at which the target is reached, as a fraction of all training steps; the rest is
    recovery. Schedules one_shot and constant end where they begin."""
    update_every_steps: PositiveInt | None = 10
    """Steps between two recomputations of the masks; the last one always falls on the end step.
    null where num_updates is given instead."""
    num_updates: PositiveInt | None = None
    """In place of update_every_steps: how often masks are recomputed after begin, at equal
    distances, the last time on the end step. Trials of any number of steps have as many; one with
    fewer steps from begin to end has them recomputed after every step."""
    kernels: Literal["auto", "reference", "triton", "numba"] = "auto"
    """Who computes the optimizer's steps; auto: triton on GPUs, numba on CPUs. No part of a trial's
    identity."""

    _distinct = field_validator("embedding_sparsity", "include", "exclude")(refuse_duplicates)

    @model_validator(mode="before")
    @classmethod
    def _number_of_updates_is_an_interval(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("num_updates") is not None:
            return {"update_every_steps": None} | fields
        return fields

    @field_validator(*REGISTRIES)
    @classmethod
    def _is_registered(cls, value: str, info: ValidationInfo) -> str:
        registry = REGISTRIES[str(info.field_name)]
        if value not in registry:
            raise ValueError(f"input should be one of {', '.join(registry)}")
        return value


class Training(Section):
    """How every trial is fine-tuned, with AdamW."""

    num_epochs: PositiveInt = 10
    """Passes over the training split."""
    num_steps: PositiveInt | None = None
    """Optimizer steps; when given it takes the place of num_epochs."""
    sampling: Literal["proportional", "temperature"] = "proportional"
    """Of several languages, how often each is drawn: proportional to its sentences, or to their
    number to the power of 1 / sampling_temperature. An epoch has as many sentences either way."""
    sampling_temperature: Annotated[Number, Field(ge=1, allow_inf_nan=False)] | None = None
    """For sampling temperature: 1 is proportional, large is uniform."""
    batch_size: PositiveInt = 32
    """Sentences an optimizer step."""
    lr: PositiveFloat = 2e-5
    """Peak learning rate."""
    lr_schedule: Literal["linear", "constant"] = "linear"
    """After the warm-up: linear decay to 0 at the last step, or constant."""
    warmup: Fraction = 0.0
    """Part of the steps in which the learning rate rises linearly from 0."""
    weight_decay: NaturalFloat = 0.0
    """Decoupled weight decay (Loshchilov & Hutter 2019); never on biases and normalisation
    weights."""
    adam_epsilon: PositiveFloat = 1e-8
    """AdamW's epsilon."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this 2-norm, taken over the weights that are not pruned."""
    max_length: Annotated[StrictInt, Field(ge=8)] = 128
    """Longest sequence in sub-words, specials included; longer sentences are split between words,
    not cut."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: forward and backward under autocast; weights and moments stay float32."""


class Evaluation(Section):
    """What is scored after training. None of it is part of a trial's identity, but for what
    chooses the best epoch: `selection`, and with best_epoch `select_after`, `matching` and
    `batch_size`."""

    splits: list[Literal["validation", "test"]] = Field(default=["test"], min_length=1)
    """Splits that are scored; where it is not given, validation too if `selection` or `predictions`
    ask for it."""
    languages: list[Code] = Field(default=[])
    """Languages that every trial is scored on beside those that it is trained on (zero-shot
    transfer); those that it is trained on may be listed, too."""
    batch_size: PositiveInt = 128
    """A forward pass takes as much room as so many sequences of `training.max_length`; of shorter
    ones there are more. On a CPU it is smaller, since it is faster so."""
    matching: Literal["strict", "lenient"] = "strict"
    """strict: an entity starts with B-, as IOB2 says; lenient: an I- without B- starts one too, as
    conlleval does."""
    selection: Literal["last", "best_epoch"] = "last"
    """Which model is scored: that of the last step, or that of the epoch with the best micro F1 on
    validation (the mean over languages), among those that end after `select_after`."""
    select_after: Fraction | None = None
    """With best_epoch: the fraction of training after which an epoch must end to be a candidate, in
    dense and sparse trials alike; the last one always is. null: where the sweep's pruning ends; 0
    where it prunes nothing."""
    predictions: list[Literal["validation", "test", "perturbed"]] = Field(default=["test"])
    """Splits whose predicted tags are stored by sentence; perturbed: the perturbed test sets as
    well."""

    _distinct = field_validator("splits", "languages", "predictions")(refuse_duplicates)

    @property
    def shown_split(self) -> str:
        """The split whose scores are shown: test where it is scored."""
        return "test" if "test" in self.splits else "validation"

    @model_validator(mode="before")
    @classmethod
    def _with_validation_where_asked(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "splits" in values:
            return values
        predictions = values.get("predictions")
        is_predicted = isinstance(predictions, list) and "validation" in predictions
        if is_predicted or values.get("selection") == "best_epoch":
            return values | {"splits": ["validation", "test"]}
        return values


class Robustness(Section):
    """Scores on test sentences whose entities are replaced by others of the same type. No part of a
    trial's identity."""

    perturbations: list[Perturbation] = Field(default=[])
    """Where the new entities come from: within_language, the language's own; within_script,
    within_family and within_branch, other languages written in the same script, of the same family
    such as Indo-European, or of the same branch of it such as Germanic. Empty: nothing is
    perturbed."""
    draws: PositiveInt = 1
    """Random draws, each a test set of its own."""
    seed: NaturalInt = 0
    """Seed of the replacements; all trials meet the same sentences."""
    donors: list[Code] | None = None
    """Languages that give entities; null: all that the corpus has and something is known of. Of the
    hub's WikiANN, those of XTREME; of another data set there, those that the sweep names."""
    donor_split: Literal["train", "validation", "test"] = "train"
    """Which of their sentences: train, whose entities a model may have been trained on; or those of
    validation or test that are in no train split of the language itself or of its donors."""

    _distinct = field_validator("perturbations")(refuse_duplicates)

    @field_validator("donors")
    @classmethod
    def _distinct_donors(cls, donors: list[str] | None) -> list[str] | None:
        return None if donors is None else refuse_duplicates(donors)


class LanguageFacts(Section):
    """What is known of a language that the built-in table lacks, or has otherwise; all of it may be
    left out. No part of a trial's identity."""

    script: Annotated[str, Field(pattern=r"^[A-Z][a-z]{3}$")] | None = None
    """ISO 15924 code of the script that its sentences are written in, such as Latn."""
    family: Annotated[str, Field(min_length=1)] | None = None
    """Such as Niger-Congo; written as in the built-in table, it is the same group."""
    branch: Annotated[str, Field(min_length=1)] | None = None
    """The group below the family, such as Bantu."""
    tier: Literal["up to 100", "up to 1,000", "up to 10,000", "over 10,000"] | None = None
    """Resource tier that tables put it in; null: by its train sentences."""


class Models(Section):
    """Whether the trained models are kept. No part of a trial's identity."""

    keep: Literal["none", "final", "best"] = "none"
    """none; final: the weights after the last step, with selection last; best: those of the best
    epoch, with selection best_epoch. So it is the model that is scored, exact to the bit, stored as
    what it differs in from the encoder, in `models/` of the results: `sparsweep score` scores it on
    what is asked for later, without training. `sparsweep plan` says how much room that takes."""


class Resources(Section):
    """What a trial is given. Nothing here changes which trials there are."""

    gpus_per_trial: NaturalFloat | None = None
    """GPUs a trial; fractions share one and may fill as much of its memory; null: 1 where Ray sees
    GPUs, otherwise 0."""
    cpus_per_trial: PositiveInt = 1
    """CPU cores a trial, and the number of threads it computes with."""
    memory_gib_per_trial: PositiveFloat | None = None
    """Memory of the machine that a trial on CPUs is counted with, in GiB; null: as measured, or
    estimated from the model, see `sparsweep plan`."""
    max_concurrent_trials: PositiveInt | None = None
    """Trials at a time; null: as many as the resources allow."""
    max_retries: NaturalInt = 2
    """How often a trial is started again after its worker died, or its storage or GPU failed."""
    checkpoint_every_s: NaturalFloat | None = 300.0
    """Seconds of training between two checkpoints of a running trial; 0: every step; null: none."""
    share_first_steps: bool = True
    """Trials of a language and a seed that differ only in what is pruned start from the state that
    the first of them has when it is about to prune; the same bits, in less time. It takes the space
    of a checkpoint for each such group that is under way. false: each computes all of its steps."""


class SweepSpec(Section):
    """A sweep: every language (or all together) at every sparsity with every seed."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,45}[a-z0-9])?$")
    """Name of the sweep: 1 to 47 of a-z, 0-9 and -, neither first nor last a -."""
    results: str = Field(min_length=1)
    """Where results go: a folder, or a location such as s3://bucket/folder. Sweeps may share it."""
    languages: list[Code] = Field(min_length=1)
    """Codes as the corpus has them, for example sw of WikiANN, or the names of a folder's
    folders."""
    language_table: dict[Code, LanguageFacts] = Field(default={})
    """By code, which script, family, branch and tier languages have, where the built-in table does
    not say it, or says it otherwise. A file languages.yaml in a corpus folder says the same for all
    sweeps on it; what stands here counts first."""
    regime: Regime = "monolingual"
    """monolingual: a trial trains on one language; multilingual: on all listed ones together, and
    is scored on each."""
    sparsities: list[Sparsity] = Field(min_length=1)
    """Target sparsities, fractions in [0, 1); 0 is dense. Without 0 nothing can be compared with
    dense."""
    seeds: list[NaturalInt] = Field(min_length=1)
    """Seeds of initialisation, data order and dropout."""
    corpus: Corpus = Corpus()
    model: Model = Model()
    pruning: Pruning = Pruning()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    robustness: Robustness = Robustness()
    models: Models = Models()
    resources: Resources = Resources()
    clusters: ProfilesByName = Field(default={}, exclude=True)
    """Profiles of clusters by name, for `sparsweep submit --on NAME`; they come before files of the
    user's. No part of what is stored with results."""

    _distinct = field_validator("languages", "sparsities", "seeds")(refuse_duplicates)

    def find_language(self, code: str) -> Language:
        """What is known of a language: what the sweep says of it, else the built-in table."""
        given = self.language_table.get(code)
        facts = {} if given is None else given.model_dump(exclude_none=True)
        return find_language(code).described_as(facts)

    @property
    def keeps_models(self) -> bool:
        """Whether each trial leaves its model."""
        return self.models.keep != "none"

    @property
    def pruning_ends_at(self) -> float:
        """The fraction of training at which sparse trials reach their target; 0 where there are
        none."""
        curve = SCHEDULES[self.pruning.sparsity_schedule]
        if not any(self.sparsities):
            return 0.0
        if curve.uses_end:
            return self.pruning.end
        return self.pruning.begin if curve.uses_begin else 0.0

    @model_validator(mode="after")
    def _check_across_fields(self) -> "SweepSpec":
        self._check_pruning()
        if self.corpus.kind == "path" and self.corpus.path is None:
            raise ValueError(
                "corpus.path: missing; kind path needs the folder that holds the languages"
            )
        if self.corpus.kind != "path" and self.corpus.path is not None:
            raise ValueError(
                f"corpus.path: {self.corpus.path!r} is not used by kind {self.corpus.kind}; "
                "remove it or set corpus.kind=path"
            )
        if self.corpus.kind != "path" and self.corpus.validation_from_train is not None:
            raise ValueError(
                f"corpus.validation_from_train: {self.corpus.validation_from_train} is not used by "
                f"kind {self.corpus.kind}, only by path; remove it"
            )
        if self.corpus.kind == "synthetic" and (
            self.corpus.entity_types != "auto" or self.corpus.scheme != "auto"
        ):
            raise ValueError(
                "corpus.entity_types: the synthetic corpus has PER, ORG and LOC in IOB2; remove "
                "entity_types and scheme"
            )
        if self.corpus.subset_seed is not None and self.corpus.max_train_sentences is None:
            raise ValueError(
                f"corpus.subset_seed: {self.corpus.subset_seed} draws nothing where all sentences "
                "are kept; remove it or give corpus.max_train_sentences"
            )
        if self.model.name.startswith("builtin:"):
            self._check_builtin_model()
        self._check_training()
        self._check_evaluation()
        self._check_models()
        return self

    def _check_pruning(self) -> None:
        """What can be told without a trial; which choices go together is told by
        `workers.pruning.compatibility`."""
        pruning = self.pruning
        if pruning.begin > pruning.end and SCHEDULES[pruning.sparsity_schedule].uses_end:
            raise ValueError(
                f"pruning.begin: {pruning.begin} is after pruning.end, {pruning.end}; begin must "
                "not be later"
            )
        every, number = pruning.update_every_steps, pruning.num_updates
        if every is not None and number is not None:
            raise ValueError(
                f"pruning.num_updates: {number} beside update_every_steps {every}; both say when "
                "masks change, set one of them to null"
            )
        if every is None and number is None:
            raise ValueError(
                "pruning.update_every_steps: null without num_updates; give one of the two"
            )
        values = [value for value in pruning.embedding_sparsity if isinstance(value, float)]
        targets = [value for value in (*self.sparsities, *values) if value > 0]
        if targets and pruning.initial_sparsity > min(targets):
            raise ValueError(
                f"pruning.initial_sparsity: {pruning.initial_sparsity} is above the smallest "
                f"target {min(targets)}; a schedule only goes up"
            )

    def _check_training(self) -> None:
        training, given = self.training, self.training.model_fields_set
        if self.regime == "monolingual" and {"sampling", "sampling_temperature"} & given:
            raise ValueError(
                f"training.sampling: {training.sampling} with regime monolingual, where a trial "
                "has one language; leave it out or set regime=multilingual"
            )
        if (training.sampling == "temperature") != (training.sampling_temperature is not None):
            raise ValueError(
                f"training.sampling_temperature: {training.sampling_temperature} with sampling "
                f"{training.sampling}; give a temperature with sampling=temperature, and only there"
            )

    def _check_evaluation(self) -> None:
        evaluation = self.evaluation
        if evaluation.selection == "best_epoch" and "validation" not in evaluation.splits:
            raise ValueError(
                "evaluation.selection: best_epoch needs validation among evaluation.splits; add it"
            )
        after, ends_at = evaluation.select_after, self.pruning_ends_at
        if after is not None and evaluation.selection != "best_epoch":
            raise ValueError(
                f"evaluation.select_after: {after} is not used by selection "
                f"{evaluation.selection}; remove it or set selection=best_epoch"
            )
        if after is not None and after < ends_at:
            raise ValueError(
                f"evaluation.select_after: {after} is before the end of pruning, {ends_at}; a "
                f"model that is still being pruned is no candidate, give {ends_at} or more"
            )
        if "validation" in evaluation.predictions and "validation" not in evaluation.splits:
            raise ValueError(
                "evaluation.predictions: validation is not scored; add it to evaluation.splits"
            )
        if self.robustness.perturbations and "test" not in evaluation.splits:
            raise ValueError(
                "robustness.perturbations: it is test sentences that are perturbed; add test to "
                "splits"
            )

    def _check_models(self) -> None:
        selection = self.evaluation.selection
        needed = {"final": "last", "best": "best_epoch"}.get(self.models.keep, selection)
        if selection != needed:
            fitting = "best" if selection == "best_epoch" else "final"
            raise ValueError(
                f"models.keep: {self.models.keep} with evaluation.selection {selection}, which "
                f"scores another model than that; give {fitting}, or set selection={needed}"
            )

    def _check_builtin_model(self) -> None:
        if self.model.name != BUILTIN_MODEL:
            raise ValueError(
                f"model.name: {self.model.name!r} is not built in; the built-in model is "
                f"{BUILTIN_MODEL}"
            )
        if self.model.init != "random":
            raise ValueError(
                f"model.init: {self.model.init}; {BUILTIN_MODEL} has no trained weights, use random"
            )
        if self.corpus.kind != "synthetic":
            raise ValueError(
                f"model.name: {BUILTIN_MODEL} knows only the synthetic corpus' vocabulary, "
                f"corpus.kind is {self.corpus.kind}; name an encoder of the hub or a folder"
            )


def builtin_sweeps() -> dict[str, Path]:
    """Name and file of each sweep that comes with the package."""
    return {file.stem: file for file in sorted(BUILTIN_FOLDER.glob("*.yaml"))}


def load_sweep_spec(path: str, overrides: Sequence[str] = ()) -> SweepSpec:
    """Read and check a sweep file.

    Args:
        path: the YAML file, or the name of a built-in sweep (see `sparsweep sweeps`).
        overrides: `dotted.path=value` items that replace single fields; values are read as YAML.

    Raises:
        SpecError: the file is missing or is not YAML, or a field is wrong; one line a fault.
    """
    file = Path(path)
    try:
        with visiting(path):
            if not file.is_file():
                file = builtin_sweeps().get(path, file)
            text = file.read_text(encoding="utf-8")
        fields = read_yaml(text, str(file))
    except FileNotFoundError as error:
        names = ", ".join(builtin_sweeps())
        raise SpecError(
            f"{path}: no such file; give a sweep file or one of the built-in sweeps: {names}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read as text ({error}); give a YAML file") from error
    return make_sweep_spec(fields, str(file), overrides)


def make_sweep_spec(fields: Any, where: str, overrides: Sequence[str] = ()) -> SweepSpec:
    """Check what a sweep file holds.

    Args:
        fields: as read from YAML; where it is a mapping, `overrides` are put into it.
        where: what a message calls the file.
        overrides: as `load_sweep_spec` takes them.

    Raises:
        SpecError: a field is wrong; one line a fault.
    """
    if not isinstance(fields, dict):
        raise SpecError(
            f"{where}: holds {type(fields).__name__}, not a mapping; begin with `name: …`"
        )
    for override in overrides:
        _override(fields, override)
    try:
        sweep = SweepSpec.model_validate(fields)
    except ValidationError as error:
        raise SpecError(
            "\n".join(f"{where}: {describe_fault(fault, SweepSpec)}" for fault in error.errors())
        ) from error
    return _with_languages_of_corpus(sweep)


LANGUAGES_FILE = "languages.yaml"
"""What a corpus folder says of its languages; the form is that of `SweepSpec.language_table`."""


class _LanguagesFile(RootModel[dict[Code, LanguageFacts]]):
    """What the file holds."""


def _with_languages_of_corpus(sweep: SweepSpec) -> SweepSpec:
    """The sweep with what its corpus folder says of languages and it does not say itself. So that
    stands in results, and analyses know it, wherever the folder is then.

    Raises:
        SpecError: the file is no YAML, or a field is wrong; one line a fault.
    """
    if sweep.corpus.kind != "path":
        return sweep
    place = f"{sweep.corpus.path}/{LANGUAGES_FILE}"
    try:
        with visiting(place):
            file = Path(place).expanduser()
            if not file.is_file():
                return sweep
    except (OSError, RuntimeError, ValueError):
        return sweep  # planning says what is wrong with the folder
    try:
        with visiting(place):
            text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{place}: cannot be read as text ({error}); give a YAML file") from error
    values = read_yaml(text, place) or {}
    if not isinstance(values, dict):
        kind = type(values).__name__
        raise SpecError(f"{place}: holds {kind}, not a mapping; begin with `CODE: {{script: …}}`")
    try:
        given = _LanguagesFile.model_validate(values).root
    except ValidationError as error:
        faults = (describe_fault(fault, LanguageFacts) for fault in error.errors())
        raise SpecError("\n".join(f"{place}: {fault}" for fault in faults)) from error
    table = dict(sweep.language_table)
    for code, facts in given.items():
        own = table.get(code, LanguageFacts()).model_dump(exclude_none=True)
        table[code] = LanguageFacts(**facts.model_dump(exclude_none=True) | own)
    return sweep.model_copy(update={"language_table": table}) if given else sweep


def _override(fields: dict[str, Any], override: str) -> None:
    """Set one field; sections that the file leaves out come into being."""
    path, equals, value = override.partition("=")
    *sections, name = path.strip().split(".")
    if not equals or not name:
        raise SpecError(f"--set {override}: not path=value; for example --set training.lr=1e-4")
    for section in sections:
        fields = fields.setdefault(section, {})
        if not isinstance(fields, dict):
            raise SpecError(f"--set {override}: {section} holds {fields!r}, which has no fields")
    fields[name] = read_yaml(value, f"--set {path}")
