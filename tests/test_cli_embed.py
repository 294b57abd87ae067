"""`uniwhisper embed`: what it writes and prints, its exit status for every bad input, and what Ctrl-C leaves behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from conftest import tone
from uniwhisper import Embedder
from uniwhisper.cli import app


@pytest.fixture
def run(capsys, monkeypatch, tiny_model):
    """Run `uniwhisper embed` in this process: (exit status, stdout, stderr)."""
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object, model: object = tiny_model) -> tuple[int, str, str]:
        command = ["uniwhisper", "embed", "--model", str(model), "--device", "cpu", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as exit:
            app.main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return exit.value.code or 0, captured.out, captured.err

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def good(tmp_path) -> Path:
    path = tmp_path / "good.wav"
    soundfile.write(path, tone(1.0), 16_000)
    return path


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# What it does


def test_a_file_is_a_line_of_what_is_said_whatever_it_is_called(run, good, tmp_path, monkeypatch):
    bad, renamed, output = tmp_path / "not\nthere\r.wav", good.rename(tmp_path / "go\nod.wav"), tmp_path / "v.parquet"
    said = rf"{tmp_path}/not\nthere\r.wav"
    status, _, err = run(renamed, bad, "-o", output)
    assert status == 1 and len(err.splitlines()) == 2
    assert err.splitlines()[1].startswith(f"failed: {said}: ")
    assert pq.read_table(output)["path"].to_pylist() == [str(renamed)]
    _, out, _ = run(renamed, bad, "-o", output, "--overwrite", "--json")
    assert [each["path"] for each in json.loads(out)["failed"]] == [str(bad)]
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # as on a terminal: a table
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "250")
    _, _, err = run(renamed, bad, "-o", output, "--overwrite")
    assert said in err and "failed: " not in err


def test_a_file_that_is_named_again_is_embedded_once_and_said(run, good, tmp_path):
    status, _, err = run(good, good.parent / "." / good.name, good, "-o", tmp_path / "v.parquet")
    assert status == 0 and pq.read_table(tmp_path / "v.parquet").num_rows == 1
    assert f"2 files were reached again, embedded once: {good}, " in err
    _, _, err = run(good, "-o", tmp_path / "v.parquet", "--overwrite")
    assert "again" not in err


def test_vectors_of_a_folder(run, tone_files, tiny_model, tmp_path):
    output = tmp_path / "new folder" / "vectors.parquet"
    status, out, err = run(tone_files[0].parent, "-o", output)
    assert status == 0
    assert err.splitlines() == [f"device: cpu ({torch.get_num_threads()} threads)"]
    facts = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (facts["files"], facts["audio"], facts["output"]) == ("5", "5.0 s", str(output))
    table = pq.read_table(output)
    expected = Embedder.from_pretrained(tiny_model, device="cpu").embed(tone_files)
    assert table["path"].to_pylist() == list(map(str, tone_files))
    assert table["seconds"].to_pylist() == pytest.approx([1.2, 0.3, 2.1, 0.5, 0.9])
    assert np.allclose(np.stack(table["vector"].to_numpy()), expected.vectors, atol=1e-5)
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert {key: metadata[f"uniwhisper.{key}"] for key in expected.identity} == expected.identity
    assert left_in(output.parent) == ["vectors.parquet"]


def test_frames(run, tone_files, tmp_path):
    output = tmp_path / "frames.parquet"
    status, out, _ = run(*tone_files[:2], "--frames", "-o", output, "--layer", 1)
    assert status == 0
    table = pq.read_table(output)
    assert table.schema.names == ["path", "time_seconds", "vector"]
    assert table["path"].to_pylist() == [str(tone_files[0])] * 60 + [str(tone_files[1])] * 15
    assert table["time_seconds"].to_pylist() == [step / 50 for step in [*range(60), *range(15)]]
    assert table.schema.metadata[b"uniwhisper.layer"] == b"1"
    assert "75 × 32" in out


def test_json(run, good, tmp_path):
    status, out, _ = run(good, tmp_path / "missing.wav", "-o", tmp_path / "v.parquet", "--json")
    summary = json.loads(out)
    assert status == 1
    assert (summary["files"], summary["rows"], summary["width"]) == (1, 1, 32)
    assert [failed["path"] for failed in summary["failed"]] == [str(tmp_path / "missing.wav")]
    assert summary["output"] == str(tmp_path / "v.parquet")
    assert set(summary["identity"]) == {"weights", "code", "pooling", "layer", "precision"}


def test_files_of_the_same_name_stay_apart(run, tmp_path):
    for number, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "x.wav", tone(0.5, 300 + 500 * number), 16_000)
    assert run(tmp_path, "-o", tmp_path / "v.parquet")[0] == 0
    paths = pq.read_table(tmp_path / "v.parquet")["path"].to_pylist()
    assert paths == [str(tmp_path / folder / "x.wav") for folder in ("a", "b")]


def test_a_valid_file_under_a_wrong_extension_is_read(run, good, tmp_path):
    wrong = good.rename(tmp_path / "good.mp3")
    assert run(wrong, "-o", tmp_path / "v.parquet")[0] == 0
    assert pq.read_table(tmp_path / "v.parquet")["path"].to_pylist() == [str(wrong)]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes only on Linux")
def test_a_file_name_that_is_no_utf8_does_not_stop_the_rest(run, good, tmp_path):
    good.rename(tmp_path / os.fsdecode(b"caf\xe9.wav"))
    status, _, _ = run(tmp_path, "-o", tmp_path / "v.parquet")
    assert status == 0
    assert pq.read_table(tmp_path / "v.parquet")["path"].to_pylist() == [f"{tmp_path}/caf\\xe9.wav"]


# Bad files: beside a good one status 1 and the rest is written; alone status 2 and nothing is


def missing(path: Path) -> None:
    pass


def empty(path: Path) -> None:
    path.touch()


def truncated(path: Path) -> None:
    soundfile.write(path, tone(3), 16_000)
    path.write_bytes(path.read_bytes()[:-1000])


def truncated_flac(path: Path) -> None:
    soundfile.write(path, np.random.default_rng(0).standard_normal(48_000) / 10, 16_000, format="FLAC")
    path.write_bytes(path.read_bytes()[:-20_000])


def zero_length(path: Path) -> None:
    soundfile.write(path, tone(0), 16_000)


def not_a_number(path: Path) -> None:
    soundfile.write(path, np.full(1600, np.nan), 16_000, subtype="FLOAT")


def text(path: Path) -> None:
    path.write_text("this is no sound\n" * 100)


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x", "y" * 1000)


def pipe(path: Path) -> None:
    os.mkfifo(path)


BAD = [missing, empty, truncated, truncated_flac, zero_length, not_a_number, text, archive, pipe]


@pytest.mark.parametrize("rows", [[], ["--frames"], ["--every", "1"]], ids=["vectors", "frames", "segments"])
@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_bad_file_beside_a_good_one(run, good, tmp_path, make, rows):
    bad, output = tmp_path / "bad.wav", tmp_path / "out" / "v.parquet"
    make(bad)
    status, out, err = run(bad, good, "-o", output, *rows)
    assert status == 1
    (line,) = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert re.match(f"failed: {bad}: (?!{bad}).+: expected .+; got .+; .+", line)
    assert "1 more failed" in out
    assert set(pq.read_table(output)["path"].to_pylist()) == {str(good)}


@pytest.mark.parametrize("rows", [[], ["--frames"], ["--every", "1"]], ids=["vectors", "frames", "segments"])
@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_bad_file_alone(run, tmp_path, make, rows):
    bad, output = tmp_path / "bad.wav", tmp_path / "out" / "v.parquet"
    make(bad)
    status, out, err = run(bad, "-o", output, *rows)
    assert (status, out) == (2, "")
    assert f"failed: {bad}: " in err
    assert "nothing was written" in err
    assert not output.parent.exists()


@pytest.mark.parametrize("name", [f"{'x' * 300}.wav", f"{'x' * 300}/a.wav", "good.wav/a.wav"])
def test_a_path_that_cannot_be_looked_at_does_not_stop_the_rest(run, good, tmp_path, name):
    bad, output = tmp_path / name, tmp_path / "v.parquet"
    status, _, err = run(bad, good, "-o", output)
    assert status == 1 and f"failed: {bad}: cannot be opened: " in err
    assert pq.read_table(output)["path"].to_pylist() == [str(good)]
    status, _, err = run(bad, "-o", tmp_path / "none.parquet")
    assert status == 2 and "nothing was written" in err


# Usage errors: status 2, one message, nothing written


def refused(result: tuple[int, str, str], problem: str) -> None:
    status, out, err = result
    assert (status, out) == (2, "")
    assert problem in err.splitlines()[-4]
    assert [line.split()[0] for line in err.splitlines()[-3:]] == ["expected", "got", "fix"]


def test_folder_with_no_audio(run, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("x")
    refused(run(tmp_path / "in", "-o", tmp_path / "out" / "v.parquet"), "holds no audio")
    assert not (tmp_path / "out").exists()


def test_existing_output_is_replaced_only_when_asked(run, good, tmp_path):
    output = tmp_path / "v.parquet"
    output.write_text("mine")
    refused(run(good, "-o", output), f"{output} exists")
    assert output.read_text() == "mine"
    assert run(good, "-o", output, "--overwrite")[0] == 0
    assert pq.read_table(output).num_rows == 1


@pytest.mark.parametrize("output", ["victim", "."])
def test_a_folder_is_never_replaced_by_the_output(run, good, tmp_path, monkeypatch, output):
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "thesis.txt").write_text("years of work")
    monkeypatch.chdir(tmp_path / "victim" if output == "." else tmp_path)
    assert run(good, "-o", output, "--overwrite")[0] == 2
    assert (tmp_path / "victim" / "thesis.txt").read_text() == "years of work"
    assert left_in(tmp_path) == ["good.wav", "victim"]


def test_a_failure_keeps_the_output_that_was_to_be_replaced(run, tmp_path):
    output = tmp_path / "v.parquet"
    output.write_text("mine")
    assert run(tmp_path / "missing.wav", "-o", output, "--overwrite")[0] == 2
    assert output.read_text() == "mine"
    assert left_in(tmp_path) == ["v.parquet"]


def test_output_that_cannot_be_written(run, good, tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", Path("/proc/nowhere")):
        refused(run(good, "-o", folder / "v.parquet"), f"cannot write {folder}/v.parquet")


def test_an_output_name_that_is_too_long(run, good, tmp_path):
    for name in (f"{'x' * 300}.parquet", f"{'x' * 300}/v.parquet"):
        result = run(good, "-o", tmp_path / name)
        refused(result, f"cannot write {tmp_path / name}")
        assert "choose a shorter -o" in result[2]
    refused(run(good, "-o", tmp_path / ("x" * 300), "--engine", "ray"), "cannot write")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_output_folder_without_permission(run, good, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    refused(run(good, "-o", tmp_path / "locked" / "v.parquet"), "cannot write")


def test_checkpoint_of_another_architecture(run, good, tmp_path):
    from safetensors.torch import save_file

    model = tmp_path / "bert"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 16}))
    save_file({"embeddings.weight": torch.zeros(4, 4)}, model / "model.safetensors")
    refused(run(good, "-o", tmp_path / "out" / "v.parquet", model=model), "bert")
    assert not (tmp_path / "out").exists()


def test_hub_id_without_network(run, good, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    result = run(good, "-o", tmp_path / "v.parquet", model="nobody/no-such-model")
    refused(result, "nobody/no-such-model")
    assert "folder" in result[2]


def test_layer_that_does_not_exist(run, good, tmp_path):
    refused(run(good, "-o", tmp_path / "v.parquet", "--layer", 7), "no layer 7")


def test_cuda_where_there_is_none(run, good, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused(run(good, "-o", tmp_path / "v.parquet", "--device", "cuda"), "GPU")


# Stopping


@pytest.fixture(scope="module")
def long_file(tmp_path_factory) -> Path:
    """Two hours of 8-bit noise at 8 kHz, 58 MB: the encoder is busy for longer than the test waits."""
    path = tmp_path_factory.mktemp("long") / "long.wav"
    block = np.random.default_rng(0).standard_normal(80_000) / 10
    with soundfile.SoundFile(path, "w", samplerate=8000, channels=1, subtype="PCM_U8") as file:
        for _ in range(720):
            file.write(block)
    return path


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory) -> Path:
    from uniwhisper.model.config import WHISPER_SIZES
    from uniwhisper.model.encoder import WhisperEncoder
    from uniwhisper.model.weights import save_encoder

    folder = tmp_path_factory.mktemp("slow") / "base"
    save_encoder(WhisperEncoder(WHISPER_SIZES["base"]), folder)
    return folder


@pytest.mark.parametrize("rows", [[], ["--frames"], ["--every", "1"]], ids=["vectors", "frames", "segments"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_stopped_run_leaves_nothing(long_file, slow_model, tmp_path, number, rows):
    command = [sys.executable, "-m", "uniwhisper", "embed", long_file, "-o", tmp_path / "v.parquet", *rows]
    command += ["--model", slow_model, "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline().startswith("device: ")
        time.sleep(1.0)
        assert left_in(tmp_path) != []  # it is writing
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert left_in(tmp_path) == []
