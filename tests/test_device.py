"""Names of devices, as users type them and as they pass them from Python."""

import pytest
import torch

from uniwhisper.core.errors import UserError
from uniwhisper.model.device import choose_device


def test_auto_is_a_gpu_if_there_is_one(monkeypatch):
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert choose_device("auto") == torch.device("cuda" if there else "cpu")
        assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="no GPU to compute on"):
        choose_device("cuda")


@pytest.mark.parametrize(("name", "fix"), [("gpu", "auto takes a GPU"), ("cuda:1", "CUDA_VISIBLE_DEVICES=1")])
def test_another_name_is_refused_with_what_to_take(name, fix):
    with pytest.raises(UserError, match="auto, cpu or cuda") as caught:
        choose_device(name)
    assert fix in caught.value.fix
