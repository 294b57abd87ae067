"""What is written about a row: whole, it is taken as it is; cut or written by hand, it is refused with what to do."""

import json
from types import SimpleNamespace

import pytest

from uniwhisper.core.errors import OutputError
from uniwhisper.reproduce.chain import Chain
from uniwhisper.reproduce.collected import collect
from uniwhisper.reproduce.job import Job
from uniwhisper.reproduce.scale import miniature
from uniwhisper.reproduce.start import read_choices
from uniwhisper.reproduce.state import RowState

MODEL = {"model": "S-seed0/run/model", "steps": 6, "audio_seconds": 18.0, "train_seconds": 1}


@pytest.fixture
def state(tmp_path) -> RowState:
    """A row that is trained, chosen and judged, as the chain writes it."""
    state = RowState(tmp_path / "S-seed0", "key")
    state.folder.mkdir()
    result = state.folder / "suite.json"
    result.write_text("{}")
    state.finish("trained", MODEL, [])
    state.finish("chosen", {**MODEL, "choice": {"step": 6}}, [])
    state.finish("judged", {"result": result.name, "commit": None}, [result])
    return state


def test_what_the_chain_writes_is_whole(state):
    assert state.done("trained") == {**MODEL, "files": {}}
    assert state.done("judged")["files"].keys() == {"suite.json"}
    assert read_choices([(0, state.folder)], 9) == [{"seed": 0, "steps": 9, "step": 6}]


@pytest.mark.parametrize(
    ("stage", "change", "lacking"),
    [
        ("judged", {"files": None}, "'files' in it"),
        ("judged", {"files": ["suite.json"]}, "'files' in it"),
        ("judged", {"files": {"suite.json": 3}}, "'files' in it"),
        ("judged", {"files": {}}, "'suite.json' among its files"),
        ("judged", {"result": None}, "'result' in it"),
        ("judged", None, "an object"),
        ("trained", {"files": None}, "'files' in it"),
        ("trained", {"steps": "6"}, "'steps' in it"),
        ("chosen", {"choice": None}, "'choice' in it"),
        (None, {"trained": None}, "an entry 'trained' beside it"),
    ],
)
def test_a_row_that_is_not_whole_is_refused_with_what_to_do(state, stage, change, lacking):
    """`change`: None takes the name out; instead of the whole entry: makes it a number."""
    path = state.folder / "row.json"
    written = json.loads(path.read_text())
    if change is None:
        written[stage] = 1
    for name, value in (change or {}).items():
        entry = written[stage] if stage else written
        entry.pop(name)
        if value is not None:
            entry[name] = value
    path.write_text(json.dumps(written))
    chain = SimpleNamespace(scale=miniature("lm"), output=state.folder.parent)
    for read in (
        lambda: state.done("judged"),
        lambda: read_choices([(0, state.folder)], 9),
        lambda: collect(chain),
        lambda: Chain.progress_of(chain, Job("S", 0)),
    ):
        with pytest.raises(OutputError, match=r"row\.json is not whole") as refused:
            read()
        assert refused.value.expected.startswith(lacking) and "copy the row.json" in refused.value.fix
