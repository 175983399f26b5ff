"""Reading sweep files: defaults, overrides, and one clear line for everything that is wrong."""

import re

import pytest

from orchestrator.errors import SpecError
from orchestrator.spec.sweep_spec import SweepSpec, builtin_sweeps, load_sweep_spec

SMALLEST = """
name: tiny
results: out
languages: [sw, yo]
sparsities: [0, 0.5]
seeds: [0]
"""


def load(tmp_path, text: str, *overrides: str) -> SweepSpec:
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    return load_sweep_spec(str(file), overrides)


def test_defaults_are_xtremes(tmp_path):
    sweep = load(tmp_path, SMALLEST)
    training = sweep.training
    assert (training.num_epochs, training.lr, training.batch_size, training.max_length) == (
        10,
        2e-5,
        32,
        128,
    )
    assert (training.max_grad_norm, training.weight_decay, training.lr_schedule) == (
        1.0,
        0.0,
        "linear",
    )
    assert sweep.corpus.name == "unimelb-nlp/wikiann"
    assert sweep.model.name == "google-bert/bert-base-multilingual-cased"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seeds=[010]", "1:2: 010 means 8 in YAML; write a number without leading zeros"),
        ("seeds=[1:30]", "1:2: 1:30 means 90 in YAML; write"),
        (
            "languages=[no]",
            "languages.0: False: input should be a valid string; write it in quotes",
        ),
        ("languages=[12]", "languages.0: 12: input should be a valid string; write it in quotes"),
        ("training={no: 1}", "1:2: the key False is no text; write it in quotes"),
        ("name=!!timestamp x", "1:1: not YAML: 'x' cannot be read as timestamp"),
        ("name=!!int ''", "1:1: not YAML: '' cannot be read as int"),
        ("name=!!bool x", "1:1: not YAML: 'x' cannot be read as bool"),
        ("name=!!binary c3c=", "1:1: !!binary is no value of a field; write a text"),
        ("name=2001-99-99", "1:1: not YAML: '2001-99-99' cannot be read as timestamp"),
        ("training={[a]: 1}", "the key ['a'] is no text"),
        (f"seeds=[{'9' * 5000}]", "cannot be read as int"),
        (f"seeds=[0x{'f' * 5000}]", "a int that cannot be shown"),
    ],
    ids=lambda text: text[:20],
)
def test_what_yaml_takes_for_something_else_is_refused(tmp_path, override, message):
    with pytest.raises(SpecError, match=re.escape(message)) as refused:
        load(tmp_path, SMALLEST, override)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_exponents_without_a_dot_are_numbers(tmp_path):
    assert load(tmp_path, SMALLEST + "training: {lr: 1e-4}").training.lr == 1e-4


def test_overrides_reach_fields_of_sections_that_the_file_leaves_out(tmp_path):
    sweep = load(
        tmp_path, SMALLEST, "training.lr=3e-5", "languages=[ka]", "corpus.max_train_sentences=7"
    )
    assert (sweep.training.lr, sweep.languages, sweep.corpus.max_train_sentences) == (
        3e-5,
        ["ka"],
        7,
    )


def test_builtin_sweeps_load_by_name():
    assert "smoke" in builtin_sweeps()
    for name in builtin_sweeps():
        assert load_sweep_spec(name).name == name


def test_every_built_in_sweep_of_wikiann_runs_on_a_folder_of_ones_own():
    for name in set(builtin_sweeps()) - {"smoke", "masakhaner-2", "wikineural"}:
        corpus = load_sweep_spec(name, ["corpus.path=/data"]).corpus
        assert (corpus.kind, corpus.path) == ("path", "/data")


def test_a_field_says_what_it_means_in_the_schema():
    schema = SweepSpec.model_json_schema()
    assert schema["additionalProperties"] is False
    for name, section in {"": schema, **schema["$defs"]}.items():
        for field, described in section["properties"].items():
            if "$ref" not in described and "allOf" not in described:
                assert described.get("description"), f"{name}.{field} has no description"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["sparsities=[0, 1.0]"], r"sparsities.1: 1.0: input should be less than 1"),
        (["sparsities=[-0.1]"], r"sparsities.0: -0.1: input should be greater than or equal to 0"),
        (["sparsities=[.nan]"], r"sparsities.0: nan: "),
        (["sparsities=[0.5, 0.5]"], r"sparsities: .*0.5 stands twice"),
        (["languages=[sw, sw]"], r"languages: .*sw stands twice"),
        (["languages=[]"], r"languages: \[\]: list should have at least 1 item"),
        (["seeds=[]"], r"seeds: \[\]"),
        (["seeds=[true]"], r"seeds.0: True: input should be a valid integer"),
        (["seeds=[-1]"], r"seeds.0: -1: input should be greater than or equal to 0"),
        (["languages=[no]"], r"languages.0: False: input should be a valid string"),
        (["training.learning_rate=1"], r"training.learning_rate: unknown key; `sparsweep schema`"),
        (["training.batchsize=1"], r"training.batchsize: unknown key, did you mean batch_size; "),
        (["trainig.lr=1"], r"trainig: unknown key, did you mean training"),
        (["pruning.rewind=1"], r"pruning.rewind: unknown key; .* newer .* may know it, this is \d"),
        (["training.lr=fast"], r"training.lr: 'fast': input should be a valid number"),
        (["training.lr=true"], r"training.lr: True: input should be a number"),
        (
            ["training.num_steps=100000000000000000000000"],
            r"training.num_steps: 1000.*: input should be less than",
        ),
        (
            ["seeds=[9223372036854775808]"],
            r"seeds.0: 9223372036854775808: input should be less than 2147483648",
        ),
        (["languages=[../sw]"], r"languages.0: '../sw': string should match pattern"),
        (
            ["corpus.path=''", "corpus.kind=path"],
            r"corpus.path: '': string should have at least 1 character",
        ),
        (["training.lr=.inf"], r"training.lr: inf: input should be a finite number"),
        (["pruning.begin=0.8"], r"pruning.begin: 0.8 is after pruning.end, 0.7"),
        (
            ["pruning.num_updates=20", "pruning.update_every_steps=5"],
            r"pruning.num_updates: 20 beside update_every_steps 5; .* set one of them to null",
        ),
        (
            ["pruning.update_every_steps=null"],
            r"pruning.update_every_steps: null without num_updates; give one of the two",
        ),
        (["pruning.num_updates=0"], r"pruning.num_updates: 0: input should be greater than 0"),
        (["pruning.num_updates=2.5"], r"pruning.num_updates: 2.5: input should be a valid integer"),
        (
            ["pruning.initial_sparsity=0.6"],
            r"initial_sparsity: 0.6 is above the smallest target 0.5",
        ),
        (
            ["pruning.sparsity_schedule=cosine"],
            r"pruning.sparsity_schedule: 'cosine': input should be one of cubic, linear, "
            r"one_shot, ",
        ),
        (["corpus.kind=path"], r"corpus.path: missing; kind path needs the folder"),
        (["corpus={kind: hub, path: /x}"], r"corpus.path: '/x' is not used by kind hub"),
        (
            ["corpus.subset_seed=3"],
            r"corpus.subset_seed: 3 draws nothing where all sentences are kept; remove it or give",
        ),
        (["corpus.subset_seed=-1"], r"corpus.subset_seed: -1: input should be greater than or"),
        (
            ["model.name=builtin:big"],
            r"'builtin:big' is not built in; the built-in model is builtin:small-bert",
        ),
        (
            ["model.name=builtin:small-bert"],
            r"model.init: pretrained; builtin:small-bert has no trained weights",
        ),
        (
            ["model={name: 'builtin:small-bert', init: random}"],
            r"knows only the synthetic corpus' vocabulary",
        ),
        (["name=My Sweep"], r"name: 'My Sweep': string should match pattern"),
        (["name=" + "a" * 70], r"name: 'aaa.*\.\.\.: string should match"),
        (
            ["evaluation.splits=[train]"],
            r"evaluation.splits.0: 'train': input should be 'validation' or 'test'",
        ),
        (["evaluation.splits=[test, test]"], r"evaluation.splits: .*test stands twice"),
        (["results"], r"--set results: not path=value"),
        (["results.x=1"], r"--set results.x=1: results holds 'out', which has no fields"),
        (["training.lr=[1"], r"--set training.lr:1:3: not YAML"),
        (
            ["regime=bilingual"],
            r"regime: 'bilingual': input should be 'monolingual' or 'multilingual'",
        ),
        (
            ["training.sampling=proportional"],
            r"training.sampling: proportional with regime monolingual",
        ),
        (
            ["regime=multilingual", "training.sampling=temperature"],
            r"training.sampling_temperature: None with sampling",
        ),
        (
            ["regime=multilingual", "training.sampling_temperature=2"],
            r"sampling_temperature: 2.0 with sampling propor",
        ),
        (
            ["training.sampling_temperature=0.5"],
            r"sampling_temperature: 0.5: input should be greater than or equal",
        ),
        (
            ["pruning.embedding_sparsity=1.5"],
            r"embedding_sparsity.0: 1.5: input should be off, same or a ",
        ),
        (
            ["pruning.embedding_sparsity=0"],
            r"pruning.embedding_sparsity.0: 0: input should be off, same or a fraction",
        ),
        (
            ["pruning.embedding_sparsity=on"],
            r"pruning.embedding_sparsity.0: True: input should be off, same or a",
        ),
        (
            ["pruning.embedding_sparsity=[same, same]"],
            r"pruning.embedding_sparsity: .*same stands twice",
        ),
        (
            ["pruning.initial_sparsity=0.3", "pruning.embedding_sparsity=0.2"],
            r"0.3 is above the smallest target 0.2",
        ),
        (
            ["pruning.saliency=luck"],
            r"pruning.saliency: 'luck': input should be one of magnitude, movement, ",
        ),
        (["pruning.n_of_m=[2]"], r"pruning.n_of_m: \[2\]: list should have at least 2 items"),
        (
            ["evaluation={selection: best_epoch, splits: [test]}"],
            r"best_epoch needs validation among evaluation.splits",
        ),
        (
            ["evaluation.select_after=0.8"],
            r"evaluation.select_after: 0.8 is not used by selection last; remove it or",
        ),
        (
            ["evaluation={selection: best_epoch, select_after: 0.5}"],
            r"evaluation.select_after: 0.5 is before the end of pruning, 0.7; .* give 0.7 or more",
        ),
        (
            ["evaluation={predictions: [validation], splits: [test]}"],
            r"evaluation.predictions: validation is not scored",
        ),
        (["models.keep=all"], r"models.keep: 'all': input should be 'none', 'final' or 'best'"),
        (
            ["models.keep=best"],
            r"models.keep: best with evaluation.selection last, which scores another model than "
            r"that; give final, or set selection=best_epoch",
        ),
        (
            ["models.keep=final", "evaluation.selection=best_epoch"],
            r"models.keep: final with .* best_epoch, .* give best, or set selection=last",
        ),
        (
            ["robustness.perturbations=[within_script]", "evaluation.splits=[validation]"],
            r"robustness.perturbations: it is test sentences that are perturbed",
        ),
        (
            ["robustness.perturbations=[within_city]"],
            r"robustness.perturbations.0: 'within_city': input should be ",
        ),
        (["robustness.draws=0"], r"robustness.draws: 0: input should be greater than 0"),
    ],
)
def test_a_wrong_field_gets_one_line_with_the_value_and_the_remedy(tmp_path, changes, message):
    with pytest.raises(SpecError, match=message) as caught:
        load(tmp_path, SMALLEST, *changes)
    assert "\n" not in str(caught.value)


def test_merge_keys_of_yaml_work(tmp_path):
    merged = SMALLEST + "training: &base {lr: 1e-4}\ncorpus: {kind: hub}\n"
    assert load(tmp_path, merged + "model: {<<: {init: random}}\n").model.init == "random"


def test_every_fault_gets_its_line(tmp_path):
    with pytest.raises(SpecError) as caught:
        load(tmp_path, SMALLEST, "sparsities=[2]", "training.lr=-1")
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", r"sweep.yaml:1:8: not YAML"),
        ("name: a\nname: b\n", r"sweep.yaml:2:1: the key 'name' stands twice"),
        ("- a\n", r"sweep.yaml: holds list, not a mapping"),
        ("", r"sweep.yaml: holds NoneType, not a mapping"),
        ("name: tiny\n", r"sweep.yaml: results: missing"),
        ("x: !!python/object/apply:os.system [id]", r"not YAML: could not determine a constructor"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused(tmp_path, text, message):
    with pytest.raises(SpecError, match=message):
        load(tmp_path, text)


def test_a_missing_file_names_the_builtin_sweeps(tmp_path):
    with pytest.raises(
        SpecError, match="no such file; give a sweep file or one of the built-in sweeps: .*smoke"
    ):
        load_sweep_spec(str(tmp_path / "nowhere.yaml"))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(SpecError, match="cannot be read as text"):
        load_sweep_spec(str(file))
    with pytest.raises(SpecError, match="cannot be read as text"):
        load_sweep_spec(str(tmp_path))


def test_a_folder_does_not_hide_the_builtin_sweep_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "smoke").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_sweep_spec("smoke").name == "smoke"


def test_off_is_a_word_although_yaml_takes_it_for_false(tmp_path):
    text = SMALLEST + "pruning: {embedding_sparsity: [off, same, 0.25]}\n"
    assert load(tmp_path, text).pruning.embedding_sparsity == ["off", "same", 0.25]
    assert load(
        tmp_path, SMALLEST + "pruning: {embedding_sparsity: off}\n"
    ).pruning.embedding_sparsity == ["off"]
    assert load(tmp_path, SMALLEST).pruning.embedding_sparsity == ["off"]


def test_a_path_is_a_kind_of_corpus(tmp_path):
    corpus = load(tmp_path, SMALLEST, "corpus.path=/x").corpus
    assert (corpus.kind, corpus.path) == ("path", "/x")


def test_one_shot_may_prune_after_the_default_end(tmp_path):
    made = load(tmp_path, SMALLEST, "pruning={sparsity_schedule: one_shot, begin: 0.9}")
    assert made.pruning.begin == 0.9


@pytest.mark.parametrize(
    ("overrides", "interval"),
    [
        ([], (10, None)),
        (["pruning.update_every_steps=3"], (3, None)),
        (["pruning.num_updates=20"], (None, 20)),
        (["pruning.num_updates=20", "pruning.update_every_steps=null"], (None, 20)),
        (["pruning.num_updates=null"], (10, None)),
    ],
)
def test_masks_change_every_so_many_steps_or_so_many_times(tmp_path, overrides, interval):
    sweep = load(tmp_path, SMALLEST, *overrides)
    frozen = sweep.model_dump_json(exclude_unset=True)  # as a job that is submitted has it
    again = SweepSpec.model_validate_json(frozen)
    for pruning in (sweep.pruning, again.pruning):
        assert (pruning.update_every_steps, pruning.num_updates) == interval


def test_json_schema_names_the_entries_of_each_registry():
    fields = SweepSpec.model_json_schema()["$defs"]["Pruning"]["properties"]
    assert fields["sparsity_schedule"]["enum"] == ["cubic", "linear", "one_shot", "constant"]
    assert fields["granularity"]["enum"] == ["unstructured", "n_of_m", "block"]


def test_a_corpus_folder_says_what_its_languages_are(tmp_path):
    """So that it is kept with results; what the sweep says counts first, fact by fact."""
    (tmp_path / "languages.yaml").write_text(
        "xx: {script: Latn, family: Xian}\nmhi: {script: Latn}\n"
    )
    own = "language_table={xx: {family: Other, tier: up to 100}}"
    found = load(tmp_path, SMALLEST, f"corpus.path={tmp_path}", own)
    assert {code: facts.model_dump() for code, facts in found.language_table.items()} == {
        "xx": {"script": "Latn", "family": "Other", "branch": None, "tier": "up to 100"},
        "mhi": {"script": "Latn", "family": None, "branch": None, "tier": None},
    }
    assert found.find_language("xx").family == "Other"
    (tmp_path / "languages.yaml").write_text("# nothing yet\n")
    assert load(tmp_path, SMALLEST, f"corpus.path={tmp_path}").language_table == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"mhi: {script: Latin}", "mhi.script: 'Latin': string should match pattern"),
        (b"mhi: {scripts: Latn}", "mhi.scripts: unknown key"),
        (b"mhi: Latn", "mhi: 'Latn': input should be"),
        (b"mhi:", "mhi: None: input should be"),
        (b"[mhi]", "holds list, not a mapping"),
        (b"no: {script: Latn}", "the key False is no text; write it in quotes"),
        (b"mhi: {", "not YAML"),
        (b"mhi: \xff", "cannot be read as text"),
    ],
)
def test_what_is_wrong_with_languages_of_a_corpus_is_one_line(tmp_path, text, message):
    (tmp_path / "languages.yaml").write_bytes(text)
    with pytest.raises(SpecError, match=f"languages.yaml.*: .*{message}") as caught:
        load(tmp_path, SMALLEST, f"corpus.path={tmp_path}")
    assert "\n" not in str(caught.value)
