"""Nothing that is read runs code or is written to: configs, data files, checkpoints, run folders."""

import ast
import io
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import TABLES, Shell

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("engine", "plugins") for path in (ROOT / folder).rglob("*.py"))
CODE = {"eval", "exec", "compile", "__import__", "execfile"}  # as plain names: torch.compile and re.compile make no code from text
RUNS = {"torch.load", "torch.jit.load", "torch.hub.load", "os.system", "os.popen", "subprocess.getoutput"}
MODULES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "code", "runpy", "yaml"}
FILE = {**TABLES, "data": {"kind": "file", "path": "x.npy", "domain": "sphere"}, "metrics": [{"kind": "tv"}]}


class Payload:
    """What writes the file `ran` when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("ran", "w"))


def in_npz(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("x.npy", content)
    return packed.getvalue()


def objects() -> bytes:
    """An .npy file of Python objects, the first of which is the payload."""
    packed = io.BytesIO()
    np.save(packed, np.array([[Payload(), 1.0, 2.0]], dtype=object), allow_pickle=True)
    return packed.getvalue()


def test_the_payload_would_run(shell: Shell) -> None:
    pickle.loads(pickle.dumps(Payload())).close()
    assert Path("ran").exists()
    Path("ran").unlink()
    np.load(io.BytesIO(objects()), allow_pickle=True)[0, 0].close()
    assert Path("ran").exists()


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.csv", "x.safetensors"])
@pytest.mark.parametrize("content", [pickle.dumps(Payload()), objects(), in_npz(objects())], ids=["pickle", "objects", "npz"])
@pytest.mark.parametrize("key", ["data.path", "data.test", "measures.gamma.init"])
def test_a_data_file_with_objects_is_refused_unread(shell: Shell, name: str, content: bytes, key: str) -> None:
    np.save("good.npy", np.eye(3))
    Path(name).write_bytes(content)
    value = {"kind": "file", "path": name} if key == "measures.gamma.init" else name
    said = shell("run", shell.write({"data.path": "good.npy", key: value}, FILE), "--out", "new")
    assert said.code == 2
    assert re.search(rf"{key}.*: {name} (cannot be read as|holds)", said.err)
    assert not Path("ran").exists()


@pytest.mark.parametrize("folder", ["checkpoints", "snapshots"])
@pytest.mark.parametrize("content", [pickle.dumps(Payload()), objects(), in_npz(objects())], ids=["pickle", "objects", "npz"])
def test_a_run_folder_with_a_pickle_is_refused_unread(shell: Shell, folder: str, content: bytes) -> None:
    observers = ["checkpoint", "snapshots"]
    assert shell("run", shell.write({"observers": observers}), "--out", "run", "--quiet").code == 0
    for path in [path for path in Path("run", folder).rglob("*") if path.is_file()]:
        path.write_bytes(content)
    said = shell("resume", "run", "--steps", "5") if folder == "checkpoints" else shell("film", "run")
    assert said.code == 2
    assert f"run/{folder}" in said.err
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "value",
    [
        "os.system",
        "builtins.exec",
        "!!python/object/apply:os.system ['touch ran']",
        "__import__('os').system('touch ran')",
        "{{ cycler.__init__.__globals__ }}",
        "$(touch ran)",
    ],
)
@pytest.mark.parametrize("key", ["coupling.feature", "order", "data.kind", "measures.nu.flows.0", "device", "reducer"])
def test_a_word_in_a_config_is_a_kind_or_refused(shell: Shell, value: str, key: str) -> None:
    said = shell("run", shell.write({key: value}), "--out", "new")
    assert said.code == 2
    assert key.removesuffix(".kind") in said.err
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", ["x.npy", "x.csv"])
def test_data_files_and_configs_are_opened_for_reading_only(shell: Shell, name: str) -> None:
    np.save("x.npy", np.eye(3))
    Path("x.csv").write_text("1,0,0\n0,1,0\n0,0,1\n")
    inputs = [Path(name), shell.write({"data.path": name, "data.test": name}, FILE)]
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in inputs]
    for path in inputs:
        path.chmod(0o444)
    assert shell("run", inputs[1], "--out", "run", "--quiet").code == 0
    assert shell("report", "run").code == 0
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in inputs] == before


# What the sources say


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def offences(path: Path) -> Iterator[str]:
    """Where a module makes code out of text, or reads what could hold some."""
    for name, call in calls(path):
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        if name in CODE or name in {f"builtins.{code}" for code in CODE}:
            yield f"{path.name}:{call.lineno} {name}"
        if name in (
            "torch.load",
            "torch.jit.load",
            "torch.package.PackageImporter",
            "os.system",
            "os.popen",
            "subprocess.getoutput",
        ):
            yield f"{path.name}:{call.lineno} {name}"
        if name.rpartition(".")[0] in ("np", "numpy", "np.lib.format") and name.endswith(("load", "read_array")):
            allowed = keywords.get("allow_pickle")
            if not (isinstance(allowed, ast.Constant) and allowed.value is False):
                yield f"{path.name}:{call.lineno} {name} without allow_pickle=False"
        if "shell" in keywords:
            yield f"{path.name}:{call.lineno} {name} through a shell"
        if name.endswith("import_module") and path.name != "registry.py" and not literal(call, path):
            yield f"{path.name}:{call.lineno} {name} of a name that is not written there"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (f"{path.name} imports {module}" for module in modules if module.split(".")[0] in MODULES)


def literal(call: ast.Call, path: Path) -> bool:
    """Whether the first argument is written in the source; extras.py passes on what its callers write, as tested below."""
    return isinstance(call.args[0], ast.Constant) or path.name == "extras.py"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_makes_code_out_of_text(path: Path) -> None:
    assert list(offences(path)) == []


def test_what_extras_imports_is_written_where_it_is_asked_for() -> None:
    asked = [(path, call) for path in SOURCES for name, call in calls(path) if name == "needed"]
    assert asked
    assert [str(path) for path, call in asked if not isinstance(call.args[0], ast.Constant)] == []


@pytest.mark.parametrize(
    "line",
    [
        "eval(text)",
        "exec(compile(text, '', 'exec'))",
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "np.load(path)",
        "np.lib.format.read_array(file)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=asked)",
        "subprocess.run(text, shell=True)",
        "importlib.import_module(text)",
    ],
)
def test_the_search_finds_what_it_is_for(tmp_path: Path, line: str) -> None:
    (tmp_path / "bad.py").write_text(line)
    assert list(offences(tmp_path / "bad.py"))
