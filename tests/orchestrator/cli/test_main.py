"""The command line: its help, its exit codes, and errors of one line."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.orchestrator.cli.command import run


def test_help_lists_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    commands = (
        "plan",
        "fetch",
        "run",
        "status",
        "aggregate",
        "analyze",
        "perturb",
        "compact",
        "verify",
        "schema",
        "sweeps",
        "cache",
    )
    for command in (*commands, "doctor"):
        assert f"    {command} " in out or f"    {command}\n" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("plan", "nowhere.yaml"), "sparsweep: nowhere.yaml: no such file; "),
        (
            ("run", "smoke", "--set", "languages=[]"),
            "smoke.yaml: languages: []: list should have at least 1 item",
        ),
        (
            ("run", "smoke", "--set", "languages=[qq]"),
            "'qq' is not in the synthetic corpus; it has ar, ",
        ),
        (
            ("status", "smoke", "--set", "results=ftp://x/y"),
            "results: ftp://x/y: not a location that is known",
        ),
        (
            ("status", "smoke", "--set", "results=s3://me:secret@x/y"),
            "the location contains credentials",
        ),
        (
            ("aggregate", "/no/such/folder"),
            "/no/such/folder: holds no results; give the results of a sweep",
        ),
        (("verify", "smoke", "/no/such/folder"), "/no/such/folder: holds no results"),
        (("compact", "."), ".: holds no results"),
        (
            ("status", "smoke", "--set", "results=README.md"),
            "results: README.md is a file; give a folder",
        ),
        (
            ("plan", "smoke", "--set", 'results="a\\0b"'),
            "a location cannot contain a null character",
        ),
        (("plan", "smoke", "--set", "model.name=~nobody-here/x"), "'~nobody-here/x' is no path"),
        (("plan", "smoke", "--set", "x=" + "[" * 3000), "nested too deeply"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(capsys, words, message):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert "secret" not in err


def test_a_batch_system_may_be_kept_from_trying_again_what_is_refused(capsys, tmp_path):
    words = ["run", str(tmp_path / "no.yaml"), "--as-job"]
    refused = run(capsys, *words)
    assert refused[0] == 2
    assert run(capsys, *words, "--exit-0-if-refused") == (0, *refused[1:])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["plan", "smoke"], 0, ""),
        (["submit", "smoke", "--on", "slurm", "--dry-run"], 0, ""),
        (["status", "smoke"], 2, "set HOME or XDG_STATE_HOME"),
        (["submit", "smoke", "--on", "mine", "--dry-run"], 2, "a profile is a file ~/.config/"),
        (["clusters"], 2, "set HOME or XDG_CONFIG_HOME"),
        (["plan", "smoke", "--set", "results=~nosuchuser/x"], 2, "no home folder is known for it"),
    ],
    ids=str,
)
def test_a_user_without_a_home_is_no_fault_of_ours(
    capsys, tmp_path, monkeypatch, homeless, words, code, said
):
    monkeypatch.chdir(tmp_path)
    ended, _, err = run(capsys, *words)
    assert (ended, said in err, err.count("\n") <= 1) == (code, True, True), err
    assert list(tmp_path.iterdir()) == [], "such as a folder called ~"


def test_many_faults_are_cut_short(capsys):
    code, _, err = run(
        capsys, "plan", "smoke", "--set", f"sparsities={[2.0 + n for n in range(100)]}"
    )
    assert code == 2
    assert len(err.splitlines()) == 11
    assert err.endswith("... and 90 more\n")


def test_debug_adds_the_traceback(capsys):
    code, _, err = run(capsys, "--debug", "plan", "nowhere.yaml")
    assert code == 2
    assert "Traceback" in err


@pytest.mark.slow
@pytest.mark.parametrize("words", ["schema", "plan smoke"])
def test_a_reader_that_leaves_early_is_no_error(words):
    command = f"{sys.executable} -m orchestrator.cli {words} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(closed):
    command = f"{sys.executable} -m orchestrator.cli sweeps {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (done.stdout == "") == (">&-" in closed.split())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_a_full_disk_is_one_line_and_no_bad_input():
    command = f"{sys.executable} -m orchestrator.cli sweeps > /dev/full"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 75
    assert done.stderr == "sparsweep: [Errno 28] No space left on device; make room, then go on\n"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
def test_a_disk_that_fails_is_one_line_and_no_bad_input(tmp_path):
    (tmp_path / "sw").mkdir()
    for split in ("train", "validation", "test"):
        (tmp_path / "sw" / f"{split}.tsv").symlink_to("/proc/self/mem")  # errs as such a disk does
    corpus = ("--set", "corpus.kind=path", "--set", f"corpus.path={tmp_path}")
    words = [sys.executable, "-m", "orchestrator.cli", "plan", "smoke", *corpus]
    words += ["--set", "languages=[sw]", "--set", "model.name=xlm-roberta-base"]
    words += ["--set", f"results={tmp_path}/results"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr == (
        f"sparsweep: [Errno 5] Input/output error: '{tmp_path}/sw/train.tsv'; see whether it is "
        "mounted and its server runs, then go on\n"
    )


def test_a_current_folder_that_is_gone_is_told(tmp_path):
    (tmp_path / "gone").mkdir()
    plan = f"{sys.executable} -P -m orchestrator.cli plan smoke"
    command = f"cd {tmp_path}/gone && rmdir ../gone && {plan}"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "sparsweep: the current folder is gone; cd to one that is there\n"


@pytest.mark.slow
def test_a_terminal_without_these_characters_gets_question_marks(tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    command = [
        sys.executable,
        "-m",
        "orchestrator.cli",
        "plan",
        "smoke",
        "--set",
        f"results={tmp_path}/Δ",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{tmp_path}/?" in done.stdout


def test_help_shows_the_whole_first_sentence_of_a_command(capsys):
    out = " ".join(run(capsys, "--help")[1].split())
    assert "plan Show the trials of a sweep, which of them are done, and how long and how" in out
    assert "the others take. run Run the trials of a sweep that are not done yet." in out


def test_help_loads_nothing_that_takes_long():
    heavy = ("pydantic", "pyarrow", "rich", "pandas", "torch", "ray", "orchestrator.cli.runs")
    code = (
        "import sys\n"
        "from orchestrator.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n"
        f"    print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


@pytest.mark.slow
def test_ctrl_c_ends_a_command_at_once_and_without_a_word(tmp_path):
    os.mkfifo(sweep := tmp_path / "sweep.yaml")
    words = [sys.executable, "-m", "orchestrator.cli", "plan", str(sweep)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reading:
        until = time.monotonic() + 30
        writing = None
        while writing is None and time.monotonic() < until:
            with contextlib.suppress(OSError):  # nobody reads yet
                writing = os.open(sweep, os.O_WRONLY | os.O_NONBLOCK)
            time.sleep(0.05)
        reading.send_signal(signal.SIGINT)
        reading.send_signal(signal.SIGINT)  # as `timeout` does
        said = reading.communicate(timeout=10)
    os.close(writing)
    assert (reading.returncode, said) == (130, (b"", b""))


ASKING = """
import sys
from workers import storage
storage.FIRST_ANSWER_S = float(sys.argv[2])
from orchestrator.cli.main import main
sys.argv[1:] = [sys.argv[3], "smoke", "--set", f"results={sys.argv[1]}"]
main()
"""


def planning(
    scheme: str, silent: socket.socket, limit_s: int, command: str = "plan"
) -> tuple[str, list[str]]:
    """An address where a server takes connections and never answers, and what asks it."""
    place = f"127.0.0.1:{silent.getsockname()[1]}"
    address = f"{scheme}://bucket?scheme=http&endpoint_override={place}"
    return place, [sys.executable, "-c", ASKING, address, str(limit_s), command]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_store_that_is_silent_is_told_in_a_line(scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place, words = planning(scheme, silent, 1)
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (75, "")
    said = f"{place}: does not answer within 1 s; check the address, the network, and the"
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_silent_store_hears_ctrl_c_at_once():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        _, words = planning("s3", silent, 30)
        asking = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with silent.accept()[0]:
            asking.send_signal(signal.SIGINT)
            said = asking.communicate(timeout=5)
    assert (asking.returncode, said) == (130, ("", ""))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 75), ("SIGHUP", 75), ("SIGINT", 130)])
def test_a_signal_ends_a_run_that_waits_for_a_silent_store(name, code):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        _, words = planning("s3", silent, 30, "run")
        asking = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with silent.accept()[0]:
            sent_s = time.monotonic()
            asking.send_signal(getattr(signal, name))
            out, err = asking.communicate(timeout=30)
    assert (asking.returncode, err) == (code, "")
    assert out.startswith(f"Stopped ({name}); all that was finished is kept" if code == 75 else "")
    assert time.monotonic() - sent_s < 15
