"""The `uniwhisper` command itself: verbs, laziness, errors and signals, whatever the verb."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import uniwhisper
from uniwhisper.cli.app import VERBS


def command(*arguments: str, code: str | None = None) -> subprocess.CompletedProcess:
    start = ["-m", "uniwhisper"] if code is None else ["-c", code]
    return subprocess.run([sys.executable, *start, *arguments], capture_output=True, text=True, timeout=60)


def plain(text: str) -> str:
    """Without the frame that help and errors are drawn in."""
    return re.sub(r"[│╭╮╰╯─\s]+", " ", text)


def test_help_names_every_verb_and_imports_nothing_heavy():
    code = """
import sys
sys.argv = ["uniwhisper", "--help"]
from uniwhisper.cli.app import main
try:
    main()
except SystemExit as exit:
    heavy = {"torch", "numpy", "transformers", "pyarrow", "sklearn", "matplotlib", "soundfile", "huggingface_hub"}
    print("HEAVY", sorted(heavy & set(sys.modules)), exit.code)
"""
    done = command(code=code)
    assert done.stdout.rstrip().endswith("HEAVY [] 0"), done.stdout + done.stderr
    for verb in VERBS:
        assert f" {verb} " in plain(done.stdout)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb):
    done = command(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert f"Usage: uniwhisper {verb}" in plain(done.stdout)
    # Rich takes a word in brackets for markup and swallows it.
    assert not re.search(r"extras? *([.]|and)", plain(done.stdout)), "the help names no extra"


def test_version():
    assert command("--version").stdout == f"uniwhisper {uniwhisper.__version__}\n"


def test_an_unknown_verb_suggests_the_nearest():
    done = command("embd")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean 'embed'?" in plain(done.stderr)


def test_no_verb_shows_help_and_is_a_usage_error():
    done = command()
    assert done.returncode == 2
    assert "embed" in done.stdout + done.stderr


def test_a_missing_option_is_a_usage_error():
    done = command("embed", "x.wav")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--output" in plain(done.stderr)


VERB = """
import os, signal, sys, types, warnings
import uniwhisper.cli.app as app
verb = types.ModuleType("verb")
def act() -> None:
    {body}
verb.act = act
sys.modules["verb"] = verb
app.VERBS["act"] = "verb:act"
sys.argv = ["uniwhisper", "act"]
app.main()
"""


def with_verb(body: str) -> subprocess.CompletedProcess:
    return command(code=VERB.format(body=body))


def test_a_user_error_is_one_message_and_status_2():
    body = """
    from uniwhisper.core.errors import AudioError
    raise AudioError("a [red] file", expected="sound", got="[bold]noise[/bold]", fix="x.wav")"""
    done = with_verb(body)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: a [red] file\n  expected sound\n  got      [bold]noise[/bold]\n  fix      x.wav\n"


@pytest.mark.parametrize("body", ["torch.empty(1 << 60)", "raise torch.OutOfMemoryError('CUDA out of memory')"])
def test_a_full_device_is_no_error_of_ours(body):
    done = with_verb(f"import torch; {body}")
    assert done.returncode == 75
    assert "Traceback" not in done.stderr and "memory" in done.stderr and "--device cpu" in done.stderr


def test_a_full_device_that_is_told_with_what_takes_less_has_the_same_status():
    body = """
    from uniwhisper.core.errors import DeviceMemoryError
    raise DeviceMemoryError("too large", expected="room", got="none", fix="less")"""
    done = with_verb(body)
    assert (done.returncode, done.stderr) == (
        75,
        "error: too large\n  expected room\n  got      none\n  fix      less\n",
    )


def test_an_error_of_ours_keeps_its_traceback():
    done = with_verb("assert 1 == 2, 'ours'")
    assert done.returncode == 70
    assert "AssertionError: ours" in done.stderr
    assert "Traceback" in done.stderr


def test_an_error_of_the_system_is_one_message_and_status_2():
    done = with_verb("raise OSError(28, 'No space left on device', 'v.parquet')")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: [Errno 28] No space left on device: 'v.parquet'\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("body", ["print('line')", "print('line', flush=True)", "print('line\\n' * 100_000)"])
def test_a_full_disk_behind_stdout_is_told_from_one_behind_the_output(body):
    """Status 2 would say that nothing was written, beside an output that is complete."""
    with Path("/dev/full").open("w") as full:
        code = VERB.format(body=body)
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("error: standard output cannot be written")
    assert done.stderr.endswith("[Errno 28] No space left on device\n")


def test_help_says_what_the_exit_statuses_mean():
    for status in ("0: all done", "1: some", "2: a usage error", "70: an error in this program", "75: the device's"):
        assert status in plain(command("--help").stdout)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signals_stop_with_130_and_run_clean_up(name):
    body = f"""
    try:
        os.kill(os.getpid(), signal.{name})
        signal.pause()
    finally:
        print("cleaned up")"""
    done = with_verb(body)
    assert (done.returncode, done.stdout) == (130, "cleaned up\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_goes_away_is_no_error(lines):
    code = VERB.format(body=f"print('line\\n' * {lines})")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_a_warning_is_one_line():
    assert with_verb("warnings.warn('out of memory', RuntimeWarning)").stderr == "warning: out of memory\n"


@pytest.mark.parametrize("body, status", [("print('done')", 0), ("raise OSError('full')", 2)])
def test_nothing_to_print_to_is_no_error(body, status):
    """`uniwhisper … >&-`: Python has no sys.stdout then."""
    code = VERB.format(body=body)
    closed = ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, code]
    done = subprocess.run(closed, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (status, "error: full\n" if status else "")
