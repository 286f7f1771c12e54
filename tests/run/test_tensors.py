"""Our writer of safetensors files gives what safetensors reads."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from measureflow.errors import WriteError
from measureflow.run.checkpoint.safetensors_file import NAMES, read_tensors, save_tensors


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


GOOD = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
FORGED: dict[str, object] = {
    "a list": [],
    "a number": 3,
    "null": None,
    "a tensor that is a number": {"x": 3},
    "no tensors": {},
    **{f"no {key}": {"x": {name: value for name, value in GOOD.items() if name != key}} for key in GOOD},
    **{f"dtype {value!r}": {"x": {**GOOD, "dtype": value}} for value in ("F31", 3, None, [])},
    **{
        f"shape {value!r}": {"x": {**GOOD, "shape": value}}
        for value in ([2, 2], [-2, -3], [2, 3, 2**62], [2**32, 2**32], ["2", 3], [2.0, 3], [True, 6], 6, None, "ab")
    },
    **{
        f"offsets {value!r}": {"x": {**GOOD, "data_offsets": value}}
        for value in ([0, 2**62], [-24, 0], [8, 32], [24, 0], [0.0, 24], [0], "ab", None)
    },
    "no rows of more columns than there are numbers": {"y": {**GOOD, "shape": [0, 2**70], "data_offsets": [0, 0]}, "x": GOOD},
    "two tensors in one place": {"x": GOOD, "y": GOOD},
    "half of the file": {"x": {**GOOD, "shape": [3], "data_offsets": [0, 12]}},
}


@pytest.mark.parametrize("header", FORGED.values(), ids=FORGED)
def test_a_forged_header_is_no_table_of_tensors(tmp_path: Path, header: object) -> None:
    path = tmp_path / "x"
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(24))
    with pytest.raises(ValueError, match=r"^its (header|tensors) "):
        read_tensors(path)


@pytest.mark.parametrize(
    ("length", "rest"), [(2**40, b"{}"), (2**63, b""), (3, b""), (10**5, b"[" * 10**5), (4, b"\xff\xfe\xfd\xfc")]
)
def test_a_forged_length_or_no_json(tmp_path: Path, length: int, rest: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(length.to_bytes(8, "little") + rest)
    with pytest.raises(ValueError, match="its header"):
        read_tensors(path)
