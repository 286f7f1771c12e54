"""Small files that stand for much: refused before the memory and time that they ask for are taken."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from measureflow.config import structure as config
from measureflow.errors import ConfigError, MeasureflowError
from measureflow_plugins.sources._arrays import PACKED, SMALL, read_array

ZEROS = np.zeros((SMALL // 8 + 1, 1))  # just too large to be packed so well


def npz(path: Path, packing: int, **arrays: np.ndarray) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(f"{name}.npy", content.getvalue())
    return path


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_numpy_does_not_write(tmp_path: Path, packing: int) -> None:
    path = npz(tmp_path / "x.npz", packing, x=np.ones((2, 3)))
    with pytest.raises(MeasureflowError, match=r"cannot be read as \.npz: x\.npy is packed in a way that numpy does not use"):
        read_array(path, "path")


def test_an_array_of_far_more_bytes_than_its_file(tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", zipfile.ZIP_DEFLATED, x=ZEROS)
    with pytest.raises(MeasureflowError, match=f"more than {PACKED} to 1; np.savez writes it unpacked"):
        read_array(path, "path")
    np.savez(path, x=ZEROS)
    assert read_array(path, "path").shape == ZEROS.shape


def test_only_the_array_that_is_asked_for_is_read(tmp_path: Path) -> None:
    small = np.arange(6.0).reshape(2, 3)
    path = npz(tmp_path / "x.npz", zipfile.ZIP_STORED, small=small, other=np.full((2, 3), 7.0))
    damaged = path.read_bytes().replace(np.float64(7.0).tobytes(), np.float64(8.0).tobytes(), 1)
    path.write_bytes(damaged)
    np.testing.assert_array_equal(read_array(path, "path", "small"), small)
    with pytest.raises(MeasureflowError, match="Bad CRC"):
        read_array(path, "path", "other")


def test_a_column_twice(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 3)))
    with pytest.raises(MeasureflowError, match="columns names a column twice"):
        read_array(tmp_path / "x.npy", "path", columns=(0, 2, 0))


@pytest.mark.parametrize("dot", [".", " . ", "\t.   "])
@pytest.mark.parametrize("key", ["a", '"a.\\"b"', "'a\"'"])
@pytest.mark.parametrize("form", ["{} = 1", "[{}]", "[[ {} ]]", "x = {{ y = \"it's\", {} = '.' }}"])
def test_a_dotted_key_of_many_parts(tmp_path: Path, form: str, key: str, dot: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(form.format(dot.join([key] * 2000)))
    with pytest.raises(ConfigError, match="not TOML: a dotted key has more than 64 parts"):
        config.read(path)


def test_dots_that_are_no_keys(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(f"# {'.' * 100}\nx = [{'1.0, ' * 100}]\ny = '{'... ' * 100}'\n{'.'.join('abc')} = 1\n")
    assert config.read(path)["a"] == {"b": {"c": 1}}
