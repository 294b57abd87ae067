"""`uniwhisper export`: what it writes loads again as the same weights."""

from functools import partial

import pytest

from command import uniwhisper
from uniwhisper.model.weights import load_encoder

export = partial(uniwhisper, "export")


@pytest.mark.parametrize("kind", ["hub", "transformers"])
def test_a_folder_is_the_same_encoder(tiny_model, tmp_path, kind):
    output = tmp_path / "out" / "encoder"
    done = export(kind, "-o", output, "--model", tiny_model)
    assert done.returncode == 0, done.stderr
    identity = load_encoder(tiny_model).identity
    assert load_encoder(output).identity == identity
    assert identity[:12] in done.stdout
    again = export(kind, "-o", output, "--model", tiny_model)
    assert again.returncode == 2 and "exists" in again.stderr
    assert export(kind, "-o", output, "--model", tiny_model, "--overwrite").returncode == 0


def test_nothing_is_left_of_a_failed_export(tmp_path):
    done = export("hub", "-o", tmp_path / "out", "--model", tmp_path / "absent")
    assert done.returncode == 2 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["encoder.parquet", "encoder.safetensors"])
def test_an_onnx_file_is_not_called_otherwise(tmp_path, tiny_model, name):
    done = export("onnx", "-o", tmp_path / name, "--model", tiny_model)
    assert done.returncode == 2 and "name ending in .onnx" in done.stderr and not list(tmp_path.iterdir())


def test_options_of_another_kind_are_refused(tmp_path, tiny_model):
    done = export("hub", "-o", tmp_path / "out", "--model", tiny_model, "--int8")
    assert done.returncode == 2 and "uniwhisper export onnx" in done.stderr
