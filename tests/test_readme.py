"""README's Python and shell examples are run, and print what README says."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from command import uniwhisper
from uniwhisper.core.units import SAMPLE_RATE_HZ

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def recordings(tmp_path, monkeypatch) -> Path:
    """The two files of the examples, 2 s and 6.25 s."""
    for name, hertz, seconds in (("dog.wav", 440, 2.0), ("talk.mp3", 220, 6.25)):
        time = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        soundfile.write(tmp_path / name, (0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32), SAMPLE_RATE_HZ)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("recordings")
def test_python_examples_print_what_follows_them():
    names: dict[str, object] = {}
    examples = [(code, BLOCKS[place + 1][1]) for place, (language, code) in enumerate(BLOCKS) if language == "python"]
    assert len(examples) >= 2
    for code, expected in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), names)
        assert printed.getvalue() == expected
    assert names["frames"].vectors.shape == (313, 384)


@pytest.mark.usefixtures("recordings")
def test_shell_example_prints_what_it_shows():
    (example,) = (code for language, code in BLOCKS if language == "console")
    command, *expected = example.strip().splitlines()
    words = command.removeprefix("$ uniwhisper ").split()
    done = uniwhisper(*words)
    assert done.returncode == 0, done.stderr
    # The measured speed is left out of README: it is another figure on every machine.
    assert [line for line in done.stdout.splitlines() if not line.startswith("speed")] == expected


def test_every_command_and_option_in_readme_exists():
    shown = re.findall(r"^(?:\$ )?uniwhisper ([^#\n]+)", "\n".join(code for _, code in BLOCKS), flags=re.MULTILINE)
    assert len(shown) >= 10
    options: dict[tuple[str, ...], set[str]] = {}
    for words in map(str.split, shown):
        verb = tuple(words[:2] if words[0] in ("data", "examine") else words[:1])
        options.setdefault(verb, set()).update(word for word in words if word.startswith("-"))
    for verb, used in options.items():
        done = uniwhisper(*verb, "--help")
        assert done.returncode == 0, done.stderr
        for option in used:
            assert option in done.stdout, f"{verb} has no {option}"


def test_every_link_leads_somewhere():
    root = Path(__file__).parent.parent
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links and all((root / link).exists() for link in links if "://" not in link)
