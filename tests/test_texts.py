"""The texts beside the README: links and paths lead somewhere, and commands run as they stand.

A block of commands that cannot run here says why in the line above it, see `NOT_RUN`.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
import yaml

from tests.golden_results import unpack
from tests.orchestrator.cli.command import run as run_command

ROOT = Path(__file__).parents[1]
# The README first: the others read the results of the sweep that it runs.
TEXTS = ["README.md", *sorted(path.name for path in ROOT.glob("*.md") if path.name != "README.md")]
TOP_FOLDERS = ("orchestrator", "workers", "cluster", "tests", "docker", ".ci")
NOT_RUN = {
    ".ci/run runs it",
    "downloads from the hub",
    "needs a cluster",
    "needs a GPU",
    "needs Docker",
    "takes hours",
}
END_WITHIN_S = 240


@dataclass(frozen=True)
class Block:
    """A fenced block of a text. `not_run` is why it is not run here; None: it is."""

    text: str
    line: int
    kind: str
    not_run: str | None
    content: str

    def __str__(self) -> str:
        return f"{self.text}:{self.line}:{self.kind}"


def read_blocks(text: str) -> list[Block]:
    """The fenced blocks of a text, in their order."""
    blocks: list[Block] = []
    lines = (ROOT / text).read_text().splitlines()
    start = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if start is None:
            start = number
            continue
        reason = re.fullmatch(r"<!-- not run here: (.*) -->", lines[start - 1])
        content = "\n".join(lines[start + 1 : number])
        kind = lines[start].removeprefix("```")
        blocks.append(Block(text, start + 1, kind, reason[1] if reason else None, content))
        start = None
    assert start is None, f"{text}: the block of line {(start or 0) + 1} has no end"
    return blocks


BLOCKS = [block for text in TEXTS for block in read_blocks(text)]


def blocks_of(kind: str) -> list[Block]:
    return [block for block in BLOCKS if block.kind == kind]


def anchors_of(path: Path) -> set[str]:
    """The anchors of a text's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("text", TEXTS)
def test_every_link_leads_to_a_file_and_a_heading(text):
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / text).read_text()):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = ROOT / name if name else ROOT / text
        assert path.exists(), f"{text} links to {target}, which is not there"
        assert not anchor or anchor in anchors_of(path), f"{text}: {target}: no such heading"


SHOWN = re.findall(r"!\[[^\]]+\]\((\.figures/[\w.-]+\.svg)\)", (ROOT / "RESULTS.md").read_text())


def test_figures_in_texts_are_small_and_all_of_them_are_shown():
    kept = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / ".figures").iterdir())
    assert kept == sorted(SHOWN)
    sizes = {path: (ROOT / path).stat().st_size for path in kept}
    assert max(sizes.values()) < 64 * 1024, sizes


@pytest.mark.slow
def test_figures_in_texts_are_drawn_from_the_kept_results(capsys, tmp_path):
    """Each mark says its numbers; where it stands depends on the fonts of the machine."""
    for name in ("paper-mini-6", "paper-mini-7"):  # one sweep, begun and continued
        results = str(unpack(tmp_path / "results", name))
    figures = ("f1-by-language", "change", "errors")
    words = ("report", results, "--figures", str(tmp_path), "--only", *figures)
    code, _, _ = run_command(capsys, *words)
    assert code == 0
    for path in SHOWN:
        texts = (ROOT / path).read_text(), (tmp_path / Path(path).name).read_text()
        shown, drawn = (re.findall(r'aria-label="([^"]*)"', text) for text in texts)
        assert len(shown) > 12
        assert sorted(shown) == sorted(drawn), path


@pytest.mark.parametrize("text", TEXTS)
def test_every_path_in_a_text_exists(text):
    inside_code = re.findall(r"`([^`\n]+)`", (ROOT / text).read_text())
    paths = [
        word.rstrip("/")
        for code in inside_code
        for word in re.findall(rf"(?<![\w/.<])(?:{'|'.join(TOP_FOLDERS)})/[\w./*-]+", code)
    ]
    for path in paths:
        assert list(ROOT.glob(path)), f"{text} names {path}, which is not there"


@pytest.mark.parametrize("text", TEXTS)
def test_every_module_in_a_text_can_be_found(text):
    names = re.findall(
        r"`(?:python -m )?((?:orchestrator|workers|cluster|tests)(?:\.\w+)+)`",
        (ROOT / text).read_text(),
    )
    for name in names:
        parts = name.split(".")
        module = next(
            (path for end in range(len(parts), 0, -1) if (path := find_module(parts[:end]))), None
        )
        assert module, f"{text} names {name}, of which there is no module"
        for attribute in parts[len(module.relative_to(ROOT).with_suffix("").parts) :]:
            assert re.search(rf"\b{attribute}\b", module.read_text()), (
                f"{text}: {name} is not there"
            )


def find_module(parts: list[str]) -> Path | None:
    path = ROOT.joinpath(*parts)
    candidates = (path.with_suffix(".py"), path / "__init__.py", path / "__main__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_that_is_not_run_says_why(block):
    assert block.kind in {"bash", "yaml", "sql", "python"}, (
        f"{block}: blocks of this kind are not checked"
    )
    assert block.not_run is None or block.not_run in NOT_RUN


def test_what_is_left_to_ci_is_run_there():
    ci = (ROOT / ".ci" / "run").read_text()
    commands = [
        line.partition("#")[0].strip()
        for block in BLOCKS
        if block.not_run == ".ci/run runs it"
        for line in block.content.splitlines()
    ]
    assert commands
    for command in commands:
        assert re.search(rf"^{re.escape(command)}\b", ci, re.MULTILINE), f".ci/run lacks {command}"


@pytest.mark.parametrize("text", TEXTS)
def test_every_make_target_in_a_text_exists(text):
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"`make ([a-z][\w-]*)", (ROOT / text).read_text())
    for block in read_blocks(text):
        named += re.findall(r"^make ([a-z][\w-]*)", block.content, re.MULTILINE)
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{text}: no target {target}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 180


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of somebody who follows the texts: with an environment, and nothing else."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def run(command: list[str], folder: Path) -> str:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "XDG_CONFIG_HOME": str(folder / ".config"),
        "XDG_STATE_HOME": str(folder / ".state"),
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=END_WITHIN_S,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


@pytest.mark.slow
def test_the_commands_of_the_texts_run_in_their_order(reader):
    assert [block for block in BLOCKS if block.kind == "bash" and block.not_run is None]
    for block in BLOCKS:
        if block.not_run is not None:
            continue
        if block.kind == "bash":
            run(["bash", "-euo", "pipefail", "-c", block.content], reader)
        elif block.kind == "python":
            run([sys.executable, "-c", block.content], reader)
        elif block.kind == "sql":
            sql = block.content.replace("'results/", f"'{reader}/results/")
            assert duckdb.sql(sql).fetchall(), f"{block}: no rows"


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks_of("yaml"), ids=str)
def test_the_files_of_the_texts_are_accepted(block, reader):
    content = yaml.safe_load(block.content)
    sparsweep = str(reader / ".venv" / "bin" / "sparsweep")
    if "backend" in content:
        profiles = reader / ".config" / "sparsweep" / "clusters"
        profiles.mkdir(parents=True, exist_ok=True)
        (profiles / "example.yaml").write_text(block.content)
        # MPS is refused where trials do not share a GPU.
        sweep = ["smoke", *(["--set", "resources.gpus_per_trial=0.25"] if "mps" in content else [])]
        run([sparsweep, "submit", *sweep, "--on", "example", "--dry-run"], reader)
    else:
        (reader / "example.yaml").write_text(block.content)
        assert content["name"] in run([sparsweep, "plan", "example.yaml"], reader)
