"""Our writer of safetensors files gives what safetensors reads."""

import hashlib
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from measureflow.errors import WriteError
from measureflow.tensors import NAMES, read_tensors, save_tensors


def drawn() -> dict[str, torch.Tensor]:
    """A tensor of each type, and of no rows, one number, any order in memory."""
    draw = torch.Generator().manual_seed(0)
    each = {str(kind): (torch.rand(3, 5, generator=draw) * 9).to(kind) for kind in NAMES}
    one = torch.rand(4, 6, generator=draw)
    return {
        **each,
        "one": torch.tensor(2.5),
        "none": torch.empty(0, 3),
        "turned": one.T,
        "slice": one[1:3, ::2],
        "lone": one[:1, 0],
        'ünï"': one,
    }


def test_every_tensor_is_read_back(tmp_path: Path) -> None:
    path, tensors = tmp_path / "x.safetensors", drawn()
    save_tensors(path, tensors, {"a": "fact"})
    again = {name: tensor.clone() for name, tensor in load_file(path).items()}
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert again[name].dtype == tensor.dtype
        assert torch.equal(again[name], tensor), name
    own = read_tensors(path)
    path.write_bytes(path.read_bytes()[:100])  # they are in memory, and do not go with the file
    for name, tensor in tensors.items():
        assert own[name].dtype == tensor.dtype
        assert torch.equal(own[name], tensor), name


@pytest.mark.parametrize("facts", [{}, {"step": "3", "time": "ä\n"}])
def test_facts(tmp_path: Path, facts: dict[str, str]) -> None:
    path = tmp_path / "x.safetensors"
    sha256 = save_tensors(path, drawn(), facts)
    with safe_open(path, framework="pt") as file:
        assert (file.metadata() or {}) == facts
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def test_others_can_read_the_file_as_any_other(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x", drawn(), {})
    (tmp_path / "y").write_text("")
    assert os.stat(tmp_path / "x").st_mode == os.stat(tmp_path / "y").st_mode


def test_nothing_is_left_where_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(WriteError, match="x: cannot be written"):
        save_tensors(tmp_path / "x", drawn(), {})
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
