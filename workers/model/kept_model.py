"""A trained model in a file: exact to the bit, and small, as its difference to the encoder.

The file is safetensors and holds nothing that can run. Its header (`workers.tensor_file.Header`)
has the format, the trial's id and JSON values:

    spec            the trial as it was run, `TrialSpec.from_json` reads it
    recipe          of the code that trained it
    model_commit    of the hub's repository that the encoder is of; null for a folder
    digest          of all weights of the model as they are when they are put together again
    weights         for each weight of the model by name: form, dtype and shape
    tied            names of weights that are the same tensor as another one, and that one's name
    result          all that the trial measured, but for its scores

and, by the form of a weight, these tensors, flat:

    base            none: the weight is as the encoder has it
    whole           `<name>:values`: all its values
    kept            `<name>:bits`, one bit a weight from the lowest of each byte on, set where it is
                    not zero; `<name>:values`, those that are not zero, in their order
    rows            `<name>:rows`, int32, rows of a matrix that are not as the encoder has them;
                    `<name>:values`, all of these rows; the other rows are the encoder's
    kept_rows       `<name>:bits` of the whole matrix; `<name>:rows`, those in which a weight that
                    is not zero differs from the encoder's; `<name>:values`, those of these rows
                    that are not zero; what is not zero in the other rows is the encoder's

Of these forms each weight has the one that takes least room. The head has none in common with the
encoder, and a trial that began with random weights (`init: random`) has no encoder at all.

`read_kept_model` gives the file as a `KeptModel`, `load_kept_model` the model that it stands for,
as Hugging Face's own class. What is scored are these weights, float32, or what each trial rounds of
them in the same way (`workers.model.rounded`).
"""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from workers.digests import Part, digest_in_order
from workers.hub.snapshots import commit_of
from workers.model.difference import difference, restored
from workers.model.encoder import encoder_weights, first_names, make_model
from workers.model.folder import fingerprint_model_folder
from workers.pruning.used_rows import UsedRows
from workers.storage import Location, Prepared
from workers.tensor_file import (
    DTYPES,
    Header,
    digest_of,
    part_of,
    parts_of,
    read_header,
    write_tensors,
)
from workers.trial import BUILTIN_MODEL, RECIPE_VERSION, ModelSpec, TrialError, TrialSpec

FORMAT = "sparsweep-model-1"
"""In the header of each file; another one when what a file holds changes."""

REMEDY = (
    "remove the file, and `sparsweep run SPEC --rerun-lacking` trains the model again, where "
    "models.keep asks for it"
)

log = logging.getLogger(__name__)

_TYPES = {name: dtype for dtype, name in DTYPES.items()}


@dataclass(frozen=True)
class KeptModel:
    """What the file of a model holds.

    Attributes:
        location: the file.
        trial_id: of the trial.
        spec: the trial as it was run.
        recipe: of the code that trained it.
        model_commit: of the hub's repository that its encoder is of; None for a folder.
        digest: 32 hexadecimal digits that stand for all its weights.
        num_bytes: of the file.
        result: what the trial measured, by the names of `TrialResult`, but for its scores.
        tied: names of weights that are the same tensor as another one, and that one's name.
        forms: of each weight: form, dtype and shape.
        tensors: those of the file.
    """

    location: str
    trial_id: str
    spec: TrialSpec
    recipe: int
    model_commit: str | None
    digest: str
    num_bytes: int
    result: dict[str, Any]
    tied: dict[str, str]
    forms: dict[str, tuple[str, str, list[int]]]
    tensors: dict[str, Tensor]

    def weights(self, encoder: Mapping[str, Tensor], where: str | None = None) -> dict[str, Tensor]:
        """All weights of the model, by name; tied ones once.

        Args:
            encoder: the weights of the encoder that it came from, by name.
            where: these were found, for the error; None: where the trial says.

        Raises:
            TrialError: kind `bad_data`, when that encoder is another one.
        """
        found: dict[str, Tensor] = {}
        for name, (form, dtype, shape) in self.forms.items():
            given = encoder.get(name)
            if form in ("base", "rows", "kept_rows"):
                if given is None or list(given.shape) != shape:
                    raise self.refuse_encoder(f"its {name} is not {shape}", where)
                given = given.detach().cpu()
            parts = {
                part: self.tensors[f"{name}:{part}"]
                for part in ("bits", "rows", "values")
                if f"{name}:{part}" in self.tensors
            }
            found[name] = restored(form, _TYPES[dtype], shape, parts, given)
        if digest_in_order((), parts_of(found)) != self.digest:
            raise self.refuse_encoder("its weights have changed", where)
        return found

    def refuse_encoder(self, why: str, where: str | None = None) -> TrialError:
        """The error that says that the encoder is not the one that the model came from.

        Args:
            why: how that shows.
            where: the encoder was found; None: where the trial says.
        """
        return TrialError(
            "bad_data",
            f"{self.location}: the model came from another encoder than "
            f"{where or self.spec.model.name} is now ({why}); give back the encoder that it came "
            f"from, or {REMEDY}",
        )

    def refuse_other_commit(self, present: str | None) -> None:
        """Refuse an encoder of another commit of the hub's repository.

        Raises:
            TrialError: kind `bad_data`.
        """
        if present != self.model_commit:
            raise self.refuse_encoder(f"commit {present}, not {self.model_commit}")

    def refuse_other_recipe(self) -> None:
        """Refuse a model that other code trained than this: its scores are not this code's.

        Raises:
            TrialError: kind `bad_data`.
        """
        if self.recipe != RECIPE_VERSION:
            raise TrialError(
                "bad_data",
                f"{self.location}: the model is of recipe {self.recipe}, and this sparsweep has "
                f"recipe {RECIPE_VERSION}; score it with the version that trained it",
            )


def pack(
    model: nn.Module, spec: TrialSpec, model_commit: str | None, result: Mapping[str, Any]
) -> tuple[Header, dict[str, Tensor]]:
    """What the file of a model holds.

    Args:
        model: as it is scored; on any device.
        spec: the trial.
        model_commit: of the hub's repository that its encoder is of.
        result: what the trial measured, as JSON values.
    """
    encoder = encoder_weights(spec.model, len(spec.corpus.tags))
    first = first_names(model)
    weights = _plain_weights(model, first)
    forms: dict[str, tuple[str, str, list[int]]] = {}
    tensors: dict[str, Tensor] = {}

    def each() -> Iterator[Part]:
        for name in sorted(weights):
            value = weights[name].detach().cpu().contiguous()
            form, parts = difference(value, encoder.get(name))
            forms[name] = (form, DTYPES[value.dtype], list(value.shape))
            tensors.update({f"{name}:{part}": tensor for part, tensor in parts.items()})
            yield part_of(name, value)

    values = {
        "digest": digest_in_order((), each()),
        "spec": spec.to_json(),
        "recipe": RECIPE_VERSION,
        "model_commit": model_commit,
        "weights": forms,
        "tied": {name: other for name, other in first.items() if name != other},
        "result": dict(result),
    }
    return Header(FORMAT, spec.trial_id(), json.dumps(values, allow_nan=False)), tensors


def _plain_weights(model: nn.Module, first: Mapping[str, str]) -> dict[str, Tensor]:
    """The weights of a model by the names that they have in Hugging Face's class, each once."""
    weights = {
        name: value
        for name, value in model.state_dict(keep_vars=True).items()
        if name == first[name]
    }
    for name, module in model.named_modules():
        if isinstance(module, UsedRows):
            weights.pop(f"{name}.others", None)
            weights[f"{name}.weight"] = module.table()
    return weights


def read_kept_model(location: Location) -> KeptModel:
    """Read the file of a model.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read.
        TrialError: kind `bad_data`, when it is no such file, is damaged, or of a later version.
    """
    data = location.read_bytes()
    try:
        header, digest = read_header(data)
        if header.format != FORMAT:
            raise TrialError(
                "bad_data",
                f"{location}: {header.format!r} is not a kept model that this version reads "
                f"({FORMAT}); give a file of models/ of the results, or use a newer sparsweep",
            )
        tensors = load(data)
        if digest_of(header, tensors) != digest:
            raise ValueError("what it holds is not what was written")
        values = json.loads(header.values)
        return KeptModel(
            location=str(location),
            trial_id=header.trial_id,
            spec=TrialSpec.from_json(values["spec"]),
            recipe=values["recipe"],
            model_commit=values["model_commit"],
            digest=values["digest"],
            num_bytes=len(data),
            result=values["result"],
            tied=values["tied"],
            forms=values["weights"],
            tensors=tensors,
        )
    except (SafetensorError, ValueError, KeyError) as error:
        raise TrialError(
            "bad_data", f"{location}: the kept model is damaged ({error}); {REMEDY}"
        ) from error


def read_model_of(location: Location, trial_id: str, digest: str | None) -> KeptModel:
    """Read the model that the stored scores of a trial are of.

    Args:
        location: the file of the trial's model.
        trial_id: the trial.
        digest: of the model, as the trial's row says; None: it names none, so that the file is of
            another run, or was left by a process that died before it stored its scores.

    Raises:
        OSError: it cannot be read.
        TrialError: kind `bad_data`, when it is gone, damaged, another model, or of a later version.
    """
    try:
        kept = read_kept_model(location)
    except FileNotFoundError as error:
        raise TrialError(
            "bad_data",
            f"{location}: the kept model is gone; `sparsweep run SPEC --rerun-lacking` trains it "
            "again, where models.keep asks for it",
        ) from error
    if kept.trial_id != trial_id or kept.digest != digest:
        raise TrialError(
            "bad_data",
            f"{location}: is another model than the one that the scores of trial {trial_id} are "
            f"of; {REMEDY}",
        )
    return kept


def load_kept_model(
    kept: KeptModel, device: torch.device | None = None, base: str | None = None
) -> nn.Module:
    """The model that was kept, as Hugging Face's own class, in evaluation mode.

    Args:
        kept: from `read_kept_model`.
        device: where the model shall be; None: on a CPU.
        base: a folder with the encoder, where it is no more where it was; None: as the trial says.

    Raises:
        TrialError: kind `bad_data`, when the encoder is not there or is another one; kind
            `storage`, when the hub does not answer.
    """
    spec = kept.spec.model if base is None else replace(kept.spec.model, name=base)
    _refuse_other_folder(kept, spec)
    if spec.fingerprint is None and base is None:  # else weights are compared
        kept.refuse_other_commit(commit_of(spec))
    num_labels = len(kept.spec.corpus.tags)
    model = make_model(spec, kept.spec.seed, torch.device("cpu"), num_labels=num_labels)
    put_weights(kept, model, spec)
    return model.to(device or torch.device("cpu")).eval()


def put_weights(kept: KeptModel, model: nn.Module, spec: ModelSpec) -> None:
    """Put the weights that were kept into a model.

    Args:
        kept: from `read_kept_model`.
        model: of `make_model`, with all word embeddings.
        spec: the encoder, and where it is.

    Raises:
        TrialError: kind `bad_data`, when the encoder is another one.
    """
    weights = kept.weights(encoder_weights(spec, len(kept.spec.corpus.tags)), spec.name)
    try:
        model.load_state_dict(
            {name: weights[first] for name, first in first_names(model).items()}, strict=True
        )
    except (KeyError, RuntimeError) as error:
        said = " ".join(str(error).split())[:300]  # what is wrong stands in torch's later lines
        why = f"its architecture has other weights: {said}"
        raise kept.refuse_encoder(why, spec.name) from error


def _refuse_other_folder(kept: KeptModel, spec: ModelSpec) -> None:
    """Look at the files of an encoder's folder, before it is loaded."""
    if spec.fingerprint is None or spec.name == BUILTIN_MODEL:
        return
    present = fingerprint_model_folder(Path(spec.name), spec.init)
    if present != spec.fingerprint:
        raise kept.refuse_encoder(f"fingerprint {present}, not {spec.fingerprint}", spec.name)


class ModelFile:
    """Where a trial leaves its model when it is done.

    The file is written in two steps: what takes long, before the trial's numbers are committed, and
    its name, together with them; where the location has no lock, as an object store, two processes
    that do so at once may leave the one's numbers with the other's model, which its digest tells.
    A model that cannot be written is none: the numbers stand alone.

    Args:
        location: the file.

    Attributes:
        digest: of the model that is written; None: there is none.
        unkept: why there is none, in a line; None where nothing went wrong.
    """

    def __init__(self, location: Location):
        self.location = location
        self.digest: str | None = None
        self.unkept: str | None = None
        self._prepared: Prepared | None = None

    def prepare(
        self,
        model: nn.Module,
        spec: TrialSpec,
        model_commit: str | None,
        result: Mapping[str, Any],
    ) -> None:
        """Write all but the name; arguments are those of `pack`."""
        header, tensors = pack(model, spec, model_commit, result)
        try:
            self._prepared = self.location.prepare_by(
                lambda file: write_tensors(file, header, tensors)
            )
            self.digest = json.loads(header.values)["digest"]
        except OSError as error:
            self._note(error)

    def publish(self) -> int | None:
        """Put the model in the place of what was there.

        Returns:
            Bytes of the file; None where there is none.
        """
        if self._prepared is None:
            return None
        prepared, self._prepared = self._prepared, None
        try:
            prepared.publish()
        except OSError as error:
            self._note(error)
            return None
        return prepared.num_bytes

    def discard(self) -> None:
        """Remove what was prepared and not published."""
        if self._prepared is not None:
            self._prepared.discard()
            self._prepared = None

    def _note(self, error: OSError) -> None:
        log.warning("%s: the model is not kept: %s", self.location, error)
        self.digest = None
        reason = error.strerror or " ".join(str(error).split()).removeprefix(f"{self.location}: ")
        self.unkept = (
            f"{self.location.folder}: models cannot be kept ({reason}); trials are stored all the "
            "same, without theirs; make room or mend the place, then --rerun-lacking trains them "
            "again"
        )
