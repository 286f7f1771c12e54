"""Whatever is wrong with the input, the message names the file, the key, the value and what would have worked."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from small import TABLES, Shell

INF, NAN = float("inf"), float("nan")
FILE_DATA = {"kind": "file", "path": "good.npy", "domain": "sphere"}
FILE_TABLES = {**TABLES, "data": FILE_DATA, "metrics": [{"kind": "tv"}]}
INIT_TABLES = {**TABLES, "measures": {**TABLES["measures"], "gamma": {"init": {"kind": "file", "path": "good.npy"}}}}


def refused(shell: Shell, *arguments: object, says: tuple[str, ...]) -> str:
    """Runs a command that must end with exit code 2 and an error, without a traceback, that contains every part of `says`."""
    said = shell(*arguments)
    assert said.code == 2, said
    assert "error: " in said.err
    assert "Traceback" not in said.err
    for part in says:
        assert part in said.err
    return said.err


# Values that a config must not hold: where, what, and parts of the line that must say so.
VALUES: list[tuple[str, Any, tuple[str, ...]]] = [
    # unknown kinds
    ("coupling.feature", "rellu", ("unknown feature 'rellu'", "known: ", "relu, relu-affine", "did you mean 'relu'?")),
    ("coupling.feature", {"kind": "rellu"}, ("unknown feature 'rellu'", "did you mean 'relu'?")),
    ("coupling.feature", {"kind": 3}, ("unknown feature 3", "known: ")),
    ("coupling.feature", {"power": 2}, ("a feature needs a kind", "known: ")),
    ("order", "sequentiel", ("unknown scheme 'sequentiel'", "did you mean 'sequential'?")),
    ("reducer", "chunk", ("unknown reducer 'chunk'", "chunked, compiled, keops")),
    ("data", {"kind": "teach"}, ("unknown source 'teach'", "did you mean 'teacher'?")),
    ("measures.gamma.init", {"kind": "unifrom"}, ("unknown init 'unifrom'", "did you mean 'uniform'?")),
    ("measures.gamma.flows.0", {"kind": "wfrr"}, ("unknown flow 'wfrr'", "did you mean 'wfr'?")),
    ("metrics.1", {"kind": "kll"}, ("unknown metric 'kll'", "did you mean 'kl'?")),
    ("observers.0", "progres", ("unknown observer 'progres'", "did you mean 'progress'?")),
    ("data.neurons", "bimodl", ("unknown planted neurons 'bimodl'", "did you mean 'bimodal'?")),
    ("measures.nu.flows.1.noise", "anti", ("unknown choice 'anti'", "antithetic, plain")),
    ("dtype", "float16", ("unknown choice 'float16'", "float32, float64")),
    # unknown keys
    ("stepz", 3, ("unknown key 'stepz'", "did you mean 'step'?")),
    ("measures.nu.flow", [], ("unknown key 'flow'", "known: flows, init")),
    ("measures.gamma.flows.0.rat", 1.0, ("unknown key 'rat'", "did you mean 'rate'?")),
    ("metrics.0.evry", 1, ("unknown key 'evry'", "known: at, beta, every", "did you mean 'every'?")),
    ("coupling.feature.powr", 2, ("unknown key 'powr'", "did you mean 'power'?")),
    ("data.dim", 3, ("unknown key 'dim'", "neurons, test, train, weights")),
    # wrong types
    ("name", 3, ("expected a string, got 3",)),
    ("steps", "3", ("expected an integer, got '3'",)),
    ("steps", True, ("expected an integer, got True",)),
    ("steps", 2.5, ("expected an integer, got 2.5",)),
    ("step", "fast", ("expected a number or a schedule", "got 'fast'")),
    ("step", True, ("expected a number, got True",)),
    ("seed", 1.0, ("expected an integer, got 1.0",)),
    ("measures", [], ("expected a table, got []",)),
    ("measures.nu", [], ("expected a table, got []",)),
    ("measures.nu.flows", {"kind": "wfr"}, ("expected a list, got {'kind': 'wfr'}",)),
    ("measures.nu.flows.0", 3, ("expected a flow: a table with a kind, got 3",)),
    ("coupling", ["dual-ebm"], ("expected a coupling: a table with a kind, got ['dual-ebm']",)),
    ("metrics", {"kind": "kl"}, ("expected a list, got {'kind': 'kl'}",)),
    ("metrics.0", 3, ("expected a metric: a table with a kind, got 3",)),
    ("metrics.0.every", True, ("expected an integer, got True",)),
    ("metrics.0.every", 1.5, ("expected an integer, got 1.5",)),
    ("measures.gamma.flows.0.conserve", 1, ("expected true or false, got 1",)),
    ("data.weights", -3.0, ("expected a list, got -3.0",)),
    ("data.weights.0", "x", ("expected a number, got 'x'",)),
    ("data.neurons", 3, ("expected a list of vectors", "shape ()")),
    ("data.neurons", [[1, 2], [3]], ("a list of vectors of one length", "[[1, 2], [3]]")),
    ("data.neurons", {"angle": 1.0}, ("{angle = (radians), dim = (an integer)}", "{'angle': 1.0}")),
    # values out of range
    ("step", 0, ("step = 0.0: must be a finite number above 0",)),
    ("step", -0.1, ("step = -0.1: must be a finite number above 0",)),
    ("step", 1e30, ("step = 1e+30: must be", "at most 1e+18")),
    ("step", INF, ("must be a finite number, got inf",)),
    ("step", NAN, ("must be a finite number, got nan",)),
    ("steps", -1, ("steps = -1: must be a finite number at least 0",)),
    ("seed", -1, ("seed = -1: must be a finite number at least 0",)),
    ("name", "a/b", ("'a/b' names a folder", "letters, digits")),
    ("measures.gamma.flows.0.rate", -1, ("rate = -1.0: must be a finite number at least 0",)),
    ("measures.gamma.flows.0.rate", NAN, ("must be a finite number, got nan",)),
    ("measures.gamma.flows.0.rate", INF, ("must be a finite number, got inf",)),
    ("measures.nu.flows.1.temperature", -1, ("temperature = -1.0: must be a finite number at least 0",)),
    ("measures.nu.flows.0.probability", 1.5, ("probability = 1.5: must be", "at least 0 and at most 1")),
    ("measures.nu.flows.0.probability", -0.5, ("probability = -0.5: must be", "at least 0 and at most 1")),
    ("measures.nu.flows.0.every", 0, ("every = 0: must be", "at least 1")),
    ("metrics.0.every", 0, ("every = 0: must be", "at least 1")),
    ("measures.nu.init.copies", 0, ("copies = 0: must be", "at least 1")),
    ("measures.gamma.init.size", 0, ("size = 0: must be", "at least 1")),
    ("measures.gamma.init.tv", 0, ("tv = 0.0: must be a finite number above 0",)),
    ("measures.gamma.flows.1.radius", 0, ("radius = 0.0: must be a finite number above 0",)),
    ("data.train", 0, ("train = 0: must be", "at least 1")),
    ("data.weights.0", NAN, ("must be a finite number, got nan",)),
    # not to be had here
    ("device", "gpu", ("'gpu' is not to be had here", "'cpu' or 'auto' is")),
    ("device", "meta", ("'meta' is not to be had here", "'cpu' or 'auto' is")),
]


@pytest.mark.parametrize(("path", "value", "says"), VALUES, ids=[f"{path}={value}" for path, value, _ in VALUES])
def test_a_bad_value_is_refused_by_its_path(shell: Shell, path: str, value: Any, says: tuple[str, ...]) -> None:
    file = shell.write({path: value})
    error = refused(shell, "check", file, says=(str(file),))
    lines = [line for line in error.splitlines() if line.startswith(f"  {path}: ")]
    assert len(lines) == 1, error
    for part in says:
        assert part in lines[0]


MISSING = [
    ("name", "a string"),
    ("steps", "an integer"),
    ("step", "a number or a schedule"),
    ("coupling", "a coupling: a table with a kind"),
    ("measures", "a table"),
    ("data", "a source"),
    ("measures.nu.init", "an init: a table with a kind"),
    ("measures.gamma.init.size", "an integer"),
    ("measures.gamma.flows.1.radius", "a number"),
    ("coupling.feature", "a feature"),
    ("data.weights", "a list"),
    ("data.neurons", "a value"),
]


@pytest.mark.parametrize(("path", "wanted"), MISSING)
def test_a_missing_key_is_named(shell: Shell, path: str, wanted: str) -> None:
    file = shell.write({path: None})
    refused(shell, "check", file, says=(str(file), f"  {path}: is missing; give {wanted}"))


# Names that lead nowhere, and parts that do not go together.
TOGETHER: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"coupling.nu": "walkers"}, ("coupling (dual-ebm)", "unknown measure 'walkers'", "known: gamma, nu")),
    ({"coupling.gamma": "gama"}, ("coupling (dual-ebm)", "unknown measure 'gama'", "did you mean 'gamma'?")),
    ({"coupling.data": "dat"}, ("coupling (dual-ebm)", "unknown measure 'dat'", "did you mean 'data'?")),
    ({"measures.nu.flows.0.data": "dat"}, ("measures.nu.flows.0 (restart)", "'dat'", "did you mean 'data'?")),
    ({"metrics.1.of": "gama"}, ("metrics.1 (tv)", "unknown measure 'gama'", "did you mean 'gamma'?")),
    ({"metrics.0.at": "tst"}, ("metrics.0 (kl)", "unknown measure 'tst'", "did you mean 'test'?")),
    ({"data.test": 0}, ("metrics.0 (kl)", "unknown measure 'test'", "known: data, gamma, nu, teacher")),
    ({"measures.data": {"init": "data"}}, ("measures.data", "the data bring a measure of that name; rename yours")),
    (
        {"measures.mu": TABLES["measures"]["nu"]},
        ("measures.mu.flows", "unknown measure 'mu'", "known: gamma, nu", "rename it or remove its flows"),
    ),
    (
        {"metrics": [{"kind": "kl"}, {"kind": "tv"}, {"kind": "kl", "beta": 2.0}]},
        ("metrics.2 (kl): writes 'kl', and so does metrics.0 (kl); remove one",),
    ),
    (
        {"metrics": [{"kind": "energy", "of": ["nu"]}, {"kind": "energy"}]},
        ("metrics.1 (energy): writes 'energy.nu', and so does metrics.0 (energy)",),
    ),
    ({"data.weights": [-1.0, 2.0]}, ("data: 1 neurons need as many weights, got [-1.0, 2.0]",)),
    ({"data.weights": [0.0]}, ("data: weights must be finite and not 0, got [0.0]",)),
]


@pytest.mark.parametrize(("changes", "says"), TOGETHER, ids=[str(list(changes)) for changes, _ in TOGETHER])
def test_parts_that_do_not_fit_are_refused_at_load(shell: Shell, changes: dict[str, Any], says: tuple[str, ...]) -> None:
    file = shell.write(changes)
    refused(shell, "check", file, says=(str(file), *says))


def test_two_measures_of_one_metric_are_two_names(shell: Shell) -> None:
    assert shell("check", shell.write({"metrics": [{"kind": "tv"}, {"kind": "tv", "of": "nu"}, "mass"]})).code == 0


def test_all_problems_of_a_file_are_reported_at_once(shell: Shell) -> None:
    bad = {"zzz": 3, "steps": True, "step": 0, "coupling.feature": "rellu", "metrics.0.every": 0, "metrics.0.evry": 1}
    bad |= {"measures.nu.flows.1.temperature": -1, "measures.gamma.flows.0.rate": -1, "measures.gamma.init.size": None}
    file = shell.write(bad)
    refused(shell, "run", file, says=(f"{file}: {len(bad)} problem(s)", *(f"  {path}: " for path in bad)))


def test_all_loose_ends_are_reported_at_once(shell: Shell) -> None:
    file = shell.write(
        {"coupling.nu": "walkers", "metrics.1.of": "gama", "device": "gpu", "metrics.0": {"kind": "tv", "of": "gama"}}
    )
    error = refused(shell, "check", file, says=("walkers", "metrics.1 (tv): writes", "metrics.0 (tv): reads", "device: "))
    assert "measures.nu.flows: no potential moves it" in error


def test_missing_files_are_reported_with_everything_else(shell: Shell) -> None:
    file = shell.write({"data.path": "gone.npy", "device": "gpu"}, FILE_TABLES)
    refused(shell, "check", file, says=(f"{file}: 2 problem(s)", "  device: ", "  data.path: no such file: gone.npy"))


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file; docs/examples has files to start from"),
        (b"name = \n", "not TOML: Invalid value (at line 1, column 8)"),
        (b"name = 'a'\nname = 'b'\n", "not TOML: Cannot overwrite a value (at line 2"),
        (b"name = '\xff'\n", "cannot be read: 'utf-8' codec can't decode byte 0xff"),
        ("folder", "cannot be read: [Errno 21] Is a directory"),
        (b"", "name: is missing"),
    ],
    ids=["missing", "malformed", "twice", "not utf-8", "folder", "empty"],
)
def test_a_file_that_is_no_config(shell: Shell, command: str, content: Any, says: str) -> None:
    file = shell.folder / "given.toml"
    if content == "folder":
        file.mkdir()
    elif content is not None:
        file.write_bytes(content)
    refused(shell, command, file, says=(str(file), says))


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("nonsense", "write path=value, as in measures.gamma.flows.0.rate=5"),
        ("=3", "write path=value"),
        (
            "measures.nu.flows.7.rate=3",
            "'7' does not lead anywhere: here is a list of 2 (use 0 to 1; to add one, give the whole list)",
        ),
        (
            "measures.nu.flows.x.rate=3",
            "'x' does not lead anywhere: here is a list of 2 (use 0 to 1; to add one, give the whole list)",
        ),
        ("name.x=3", "'x' does not lead anywhere: here is the value 'small'"),
    ],
)
def test_a_malformed_setting(shell: Shell, setting: str, says: str) -> None:
    refused(shell, "check", shell.write(), "--set", setting, says=("--set", repr(setting), says))


@pytest.mark.parametrize("setting", ["step=", "step", "stepz=1", "step=-1"])
def test_a_setting_is_checked_as_the_file_is(shell: Shell, setting: str) -> None:
    refused(shell, "check", shell.write(), "--set", setting, says=("step",))


def test_more_than_fits_in_memory(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=16 * 2**30))
    file = shell.write({"measures.nu.init.copies": 30_000_000})
    says = ("needs about 67.1 GiB and 16.0 GiB are free", "'nu' alone has 1,500,000,000 atoms in d = 3", "lower its size")
    refused(shell, "run", file, "--out", "new", says=(str(file), *says))
    assert not (shell.folder / "new").exists()


def test_a_folder_that_exists(shell: Shell) -> None:
    (shell.folder / "old").mkdir()
    refused(
        shell, "run", shell.write(), "--out", "old", says=("old: exists already", "--out another folder", "measureflow resume old")
    )


def test_a_folder_that_cannot_be_made(shell: Shell) -> None:
    refused(shell, "run", shell.write(), "--out", "small.toml/new", says=("small.toml/new: cannot be created (Not a directory)",))


@pytest.mark.parametrize("weight", [-400.0, -1e9])
def test_a_teacher_that_rejection_cannot_sample(shell: Shell, weight: float) -> None:
    file = shell.write({"data.neurons": {"angle": 2.0, "dim": 15}, "data.weights": [weight, weight]})
    error = refused(
        shell, "run", file, says=(str(file), "data.weights: exact sampling would accept", "less than 1e-06", str(weight))
    )
    assert float(error.split("would accept ")[1].split()[0]) < 1e-6


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:7"])
def test_a_gpu_where_there_is_none(shell: Shell, device: str) -> None:
    file = shell.write({"device": device})
    refused(shell, "run", file, says=(str(file), f"device: '{device}' is not to be had here", "'cpu' or 'auto' is"))


def test_antithetic_noise_needs_pairs(shell: Shell) -> None:
    file = shell.write({"data.train": 51, "measures.nu.init.copies": 1})
    refused(
        shell, "run", file, "--out", "new", says=("measures.nu.flows.1.noise: 'antithetic'", "N = 51 is odd", "noise = 'plain'")
    )


@pytest.mark.parametrize("order", ["sequential", "simultaneous"])
def test_one_data_point_and_one_neuron_run(shell: Shell, order: str) -> None:
    said = shell("run", shell.write({"data.train": 1, "measures.gamma.init.size": 1, "order": order}), "--out", "new")
    assert said.code == 0
    assert "step 3 reached" in said.out


def test_kl_needs_a_teacher(shell: Shell) -> None:
    np.save("good.npy", sphere(20, 3))
    file = shell.write({"metrics": [{"kind": "kl"}]}, FILE_TABLES)
    refused(shell, "run", file, says=(str(file), "metrics.0 (kl): reads unknown measure 'teacher'", "known: data, gamma, nu"))


def sphere(n: int, d: int) -> np.ndarray:
    points = np.random.default_rng(0).standard_normal((n, d))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def with_row(i: int, row: list[float]) -> np.ndarray:
    points = sphere(20, 3)
    points[i] = row
    return points


# Files that hold no points on the sphere of R^3: name, content, and what must be said of it.
FILES: list[tuple[str, Any, tuple[str, ...]]] = [
    ("gone.npy", None, ("no such file: gone.npy", "paths are taken from the folder you run in")),
    ("points.txt", b"1 0 0\n", ("points.txt has no known ending", "known: .npy, .npz, .csv, .safetensors")),
    ("far.npy", with_row(4, [0, 3, 0]), ("row 4 is 2 away from the sphere", "normalise = true projects")),
    ("nan.npy", with_row(3, [0, NAN, 1]), ("row 3 is not finite ([0.0, nan, 1.0])", "remove or mend such rows")),
    ("inf.csv", b"1,0,0\n0,inf,0\n", ("row 1 is not finite ([0.0, inf, 0.0])", "remove or mend such rows")),
    ("none.npy", np.empty((0, 3)), ("holds no points", "(0, 3)", "n, d >= 1 is needed")),
    ("none.npz", {}, ("holds no array",)),
    ("one.npy", np.ones(3), ("holds an array of shape (3,)", "points are rows (n, d)")),
    ("text.npy", np.array([["a", "b", "c"]]), ("holds <U1", "real numbers are needed")),
    ("complex.npy", sphere(4, 3) + 1j, ("holds complex128", "real numbers are needed")),
    ("object.npy", np.array([[{}]]), ("cannot be read as .npy", "Python objects, which are never loaded")),
    ("two.npz", {"a": sphere(4, 3), "b": sphere(4, 3)}, ("holds several arrays", "key = ...", "known: a, b")),
    ("names.csv", b"x,y,z\n1,0,0\n", ("cannot be read as .csv", "'x'", "header = 1 skips a line of names")),
    ("ragged.csv", b"1,0,0\n1,0\n", ("cannot be read as .csv", "columns changed from 3 to 2")),
    ("latin.csv", b"\xff\xfe", ("cannot be read as .csv", "0xff")),
    ("empty.csv", b"", ("holds no points",)),
    ("empty.npy", b"", ("cannot be read as .npy",)),
    ("empty.npz", b"", ("cannot be read as .npz",)),
    ("empty.safetensors", b"", ("cannot be read as .safetensors",)),
    ("torn.npy", b"hello", ("cannot be read as .npy", "it is no array")),
    ("torn.npz", b"hello", ("cannot be read as .npz", "it is no array")),
    ("folder.npy", "folder", ("cannot be read as .npy", "Is a directory")),
]


def lay(name: str, content: Any) -> None:
    path = Path(name)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    elif isinstance(content, str):
        path.mkdir()
    elif content is not None:
        np.save(path, content)


@pytest.mark.parametrize("key", ["data.path", "data.test", "measures.gamma.init.path"])
@pytest.mark.parametrize(("name", "content", "says"), FILES, ids=[name for name, *_ in FILES])
def test_a_file_without_points(shell: Shell, key: str, name: str, content: Any, says: tuple[str, ...]) -> None:
    np.save("good.npy", sphere(20, 3))
    lay(name, content)
    file = shell.write({key: name}, INIT_TABLES if key.startswith("measures") else FILE_TABLES)
    refused(shell, "run", file, "--out", "new", says=(str(file), f"  {key}: ", name, *says))
    assert not (shell.folder / "new").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data.columns": [0, 7]}, "good.npy has columns 0 to 2; columns = [0, 7] goes beyond them"),
        ({"data.columns": [-1]}, "good.npy has columns 0 to 2; columns = [-1] goes beyond them"),
        ({"data.key": "q"}, "data.path: good.npy: unknown array 'q'; known: none"),
        ({"data.path": "two.npz", "data.key": "q"}, "data.path: two.npz: unknown array 'q'; known: a, b"),
        ({"data.test_fraction": 1.0}, "data.test_fraction: test_fraction = 1.0: must be"),
        ({"data.test": "wide.npy"}, "data.test: wide.npy: points have d = 5, this measure lives in d = 3"),
        ({"data.path": "zero.npy", "data.normalise": True}, "data.path: zero.npy: row 2 has no nearest point on the sphere"),
    ],
)
def test_a_part_of_a_file_that_is_not_there(shell: Shell, changes: dict[str, Any], says: str) -> None:
    np.save("good.npy", sphere(20, 3))
    np.save("wide.npy", sphere(20, 5))
    np.save("zero.npy", with_row(2, [0, 0, 0]))
    np.savez("two.npz", a=sphere(20, 3), b=sphere(20, 3))
    file = shell.write(changes, FILE_TABLES)
    refused(shell, "run", file, says=(str(file), says))


@pytest.mark.parametrize(
    ("changes", "content"),
    [
        ({"data.normalise": True}, with_row(4, [0, 3, 0])),
        ({"data.columns": [0, 1, 3]}, np.insert(sphere(20, 3), 2, 9.0, axis=1)),
        ({"data.test_fraction": 0.5}, sphere(20, 3)),
    ],
)
def test_what_the_messages_advise_works(shell: Shell, changes: dict[str, Any], content: np.ndarray) -> None:
    np.save("good.npy", content)
    assert shell("run", shell.write(changes, FILE_TABLES), "--out", "new").code == 0


def test_a_header_is_skipped_as_advised(shell: Shell) -> None:
    Path("names.csv").write_text("x,y,z\n" + "\n".join(",".join(map(repr, row)) for row in sphere(20, 3).tolist()) + "\n")
    assert shell("run", shell.write({"data.path": "names.csv", "data.header": 1}, FILE_TABLES), "--out", "new").code == 0


def test_a_start_of_another_width(shell: Shell) -> None:
    np.save("good.npy", sphere(20, 5))
    file = shell.write(tables=INIT_TABLES)
    says = ("measures.gamma.init.path: good.npy: points have d = 5", "lives in d = 3; give it points of that width")
    refused(shell, "run", file, says=(str(file), *says))


def test_a_start_as_the_data_where_the_data_do_not_fit(shell: Shell) -> None:
    file = shell.write({"coupling.feature": "relu-affine", "measures.gamma.init": {"kind": "data"}})
    says = ("measures.gamma.init.kind = 'data'", "sphere with d = 3", "sphere with d = 4", "start it from 'uniform' or 'file'")
    refused(shell, "run", file, says=(str(file), *says))
