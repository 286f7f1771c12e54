"""What the fuzzer tries: config text and --set, data files, and the files of run folders, all drawn by hypothesis."""

import copy
import datetime
import io
import json
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import tomli_w
from hypothesis import strategies as st
from safetensors.numpy import save as safetensors

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("tables", "text", "set", "data", "folder")
SMALL = 16  # what a large number of an example becomes: atoms, steps, copies
FAST = ("--set", "steps=1", "--set", "reducer=chunked")  # what is accepted is also run, for one step
Commands = tuple[tuple[str, ...], ...]


@attrs.frozen
class Case:
    """Files by name (None: removed, "": made a folder) in a folder with a run "run", and commands to give until one is refused."""

    target: str
    files: Mapping[str, bytes | str | None]
    commands: Commands

    @property
    def size(self) -> int:
        return sum(len(content) for content in self.files.values() if content)


# Where cases start from


def shrunk(node: Any) -> Any:
    """The tables of an example with small numbers in place of large ones and without slow observers."""
    if isinstance(node, dict):
        return {key: shrunk(value) for key, value in node.items()}
    if isinstance(node, list):
        return [shrunk(value) for value in node]
    return SMALL if type(node) is int and node > SMALL else node


def bases() -> list[dict[str, Any]]:
    """The examples in the docs, small; those that read a file read points of the right width."""
    found = []
    for path in sorted((ROOT / "docs" / "examples").glob("*.toml")):
        tables = shrunk(tomllib.loads(path.read_text()))
        if "path" in tables["data"]:
            tables["data"] |= {"path": "sphere.npy", "header": 0}
            tables["data"].pop("columns", None)
        found.append(tables | {"steps": 1, "observers": ["checkpoint"]})
    return found


def pool() -> dict[str, list[Any]]:
    """Tables of every component, by family, from the examples of the contract tests."""
    found: dict[str, list[Any]] = {}
    for path in sorted((ROOT / "tests" / "examples").glob("*.toml")):
        for family, tables in tomllib.loads(path.read_text()).items():
            if isinstance(tables, list):
                found.setdefault(family, []).extend(shrunk(bare(table)) for table in tables)
    return found


def bare(node: Any) -> Any:
    """A table without the tests' own keys."""
    if isinstance(node, dict):
        return {key: bare(value) for key, value in node.items() if not key.startswith("_")}
    return [bare(value) for value in node] if isinstance(node, list) else node


def npy(array: np.ndarray) -> bytes:
    packed = io.BytesIO()
    np.save(packed, array, allow_pickle=True)
    return packed.getvalue()


def sphere(n: int = 12, d: int = 3) -> np.ndarray:
    points = np.random.default_rng(0).standard_normal((n, d))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


BASES, POOL = bases(), pool()
BESIDE: Mapping[str, bytes] = {"sphere.npy": npy(sphere()), "x.npy": npy(sphere()), "digits.npy": npy(sphere(12, 16))}
WORDS = sorted({word for base in BASES for word in tomli_w.dumps(base).replace('"', " ").split()})

# Values

NUMBERS: list[Any] = [0, 1, -1, 2, 3, 7, 2**31, 2**63 - 1, 2**63, -(2**63), 10**9, 10**12, 10**18, 10**400]
NUMBERS += [0.0, -0.0, 0.5, 1.0, -1.0, 1e-308, 5e-324, 1e18, 1e39, 1e308, float("nan"), float("inf"), float("-inf")]
MILD = [0, 1, 2, 3, 5, 8, 0.5, 0.1, 1e-3, 10.0, 100.0, 1e6, 1e-9, -1.0, 0.0, 10**9]
DATES = [datetime.date(2020, 2, 29), datetime.datetime(1, 1, 1, 0, 0), datetime.time(23, 59, 59)]
TEXTS = [
    "",
    " ",
    ".",
    "..",
    "/",
    "/dev/null",
    "../x",
    "a\nb",
    "\x00",
    "\x1b[31m",
    "é",
    "日本",
    "\U0001d518" * 40,
    "x" * 10_000,
    "-",
    "--out",
]
TEXTS += [
    "nu",
    "gamma",
    "data",
    "test",
    "teacher",
    "auto",
    "x.npy",
    "none.npy",
    "x.toml",
    "{kind='x'}",
    "%s",
    "{0}",
    "cuda",
    "meta",
]
scalars = st.sampled_from(NUMBERS) | st.sampled_from(TEXTS) | st.booleans() | st.sampled_from(DATES)
scalars |= st.integers(-8, 8) | st.floats() | st.text(st.characters(codec="utf-8"), max_size=12)
components = st.sampled_from([table for tables in POOL.values() for table in tables]).map(copy.deepcopy)
keys = st.sampled_from(["kind", "size", "rate", "path", "every", "", "a b", "é", "x" * 300, "init", "of"]) | st.text(max_size=6)
keys = keys.filter(lambda key: not any("\ud800" <= c <= "\udfff" for c in key))
values = st.recursive(
    scalars | components,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
deep = st.builds(lambda depth, inner, table: nested(depth, inner, table), st.integers(5, 60), scalars, st.booleans())


def nested(depth: int, inner: Any, table: bool) -> Any:
    for _ in range(depth):
        inner = {"of": inner} if table else [inner]
    return inner


def paths(node: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every key and every entry."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        yield (*here, key)
        yield from paths(value, (*here, key))


# Configs


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """An example with one to three changes."""
    base = copy.deepcopy(draw(st.sampled_from(BASES)))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        (changed if draw(st.integers(0, 2)) == 0 else mildly)(draw, base)
    return base


def mildly(draw: st.DrawFn, base: dict[str, Any]) -> None:
    """Puts another number in place of one, or another component of the family, in place."""
    kinds = {"flows", "metrics", "init", "feature", "order", "data", "coupling", "observers", "domain", "rate", "step"}
    places = [path for path in paths(base) if type(at(base, path)) in (int, float) or kinds & set(map(str, path[-2:]))]
    if places:
        *parents, last = path = draw(st.sampled_from(places))
        numeric = type(at(base, tuple(path))) in (int, float) and draw(st.integers(0, 3)) > 0
        at(base, tuple(parents))[last] = draw(st.sampled_from(MILD)) if numeric else kin(draw, list(path))


def at(node: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


def kin(draw: st.DrawFn, path: list[Any]) -> Any:
    """A component of the family that stands at a path."""
    family = {"flows": "flow", "metrics": "metric", "init": "init", "feature": "feature", "order": "scheme", "step": "schedule"}
    family |= {"data": "source", "coupling": "coupling", "observers": "observer", "domain": "domain", "rate": "schedule"}
    name = next((family[key] for key in reversed(path) if key in family), "flow")
    return copy.deepcopy(draw(st.sampled_from(POOL.get(name, POOL["flow"]))))


def changed(draw: st.DrawFn, base: dict[str, Any]) -> None:
    """Replaces, removes, adds or doubles something, in place."""
    everywhere = list(paths(base))
    if not everywhere:
        return
    *parents, last = draw(st.sampled_from(everywhere))
    node: Any = base
    for key in parents:
        node = node[key]
    match draw(st.sampled_from(["value", "value", "same", "kin", "kin", "number", "drop", "add", "double", "deep"])):
        case "value":
            node[last] = draw(values)
        case "deep":
            node[last] = draw(deep)
        case "number":
            node[last] = draw(st.sampled_from(NUMBERS))
        case "same":  # another number where there was one, another component where there was one
            numeric = isinstance(node[last], int | float)
            node[last] = draw(st.sampled_from(NUMBERS) | st.floats() if numeric else components | st.sampled_from(TEXTS))
        case "kin":
            node[last] = kin(draw, [*parents, last])
        case "drop":
            del node[last]
        case "add" if isinstance(node, dict):
            node[draw(keys)] = draw(values)
        case _ if isinstance(node, list):
            node.append(copy.deepcopy(node[last]))
        case _:
            node[last] = [copy.deepcopy(node[last])] * 2


def configured(target: str, text: bytes, *settings: str) -> Case:
    given = tuple(part for setting in settings for part in ("--set", setting))
    run = ("run", "x.toml", *given, *FAST, "--out", "new", "--quiet")
    return Case(target, {**BESIDE, "x.toml": text}, (("check", "x.toml", *given), run))


def from_tables() -> st.SearchStrategy[Case]:
    return tables().map(lambda raw: configured("tables", tomli_w.dumps(raw).encode()))


NOISE = ["[", "]", "[[", "]]", "{", "}", "=", '"', "'", '"""', "'''", "\\", "\\u", "\n", "\r", "\x00", "#", ".", ",", "_", "-", "+"]
NOISE += [
    "[" * 3000,
    "{a=" * 2000,
    "9" * 5000,
    "0x" + "f" * 5000,
    "1e999",
    "1_000",
    "nan",
    "inf",
    "1979-05-27T07:32:00Z",
    "a.b.c.d=1\n",
]
NOISE += ["x." * 2000 + "y=1\n", "\ufeff", "é", "[measures]\n", "[[metrics]]\n", "steps=1\n", "\\ud800", "[a" + ".b" * 2000 + "]\n"]
NOISE_BYTES = [piece.encode() for piece in NOISE] + [b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\x80" * 9]


@st.composite
def spoilt(draw: st.DrawFn, content: bytes, pieces: list[bytes], most: int = 4) -> bytes:
    """Bytes with some pieces put in, cut out, overwritten, or cut off at the end."""
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, len(content)))
        piece = draw(st.sampled_from(pieces) | st.binary(min_size=1, max_size=8))
        match draw(st.sampled_from(["insert", "overwrite", "overwrite", "remove", "truncate", "flip"])):
            case "insert":
                content = content[:at] + piece + content[at:]
            case "overwrite":
                content = content[:at] + piece + content[at + len(piece) :]
            case "remove":
                content = content[:at] + content[at + draw(st.integers(1, 40)) :]
            case "truncate":
                content = content[:at]
            case _ if at < len(content):
                content = content[:at] + bytes([content[at] ^ (1 << draw(st.integers(0, 7)))]) + content[at + 1 :]
    return content


def from_text() -> st.SearchStrategy[Case]:
    around = st.sampled_from(BASES).flatmap(lambda base: spoilt(tomli_w.dumps(base).encode(), NOISE_BYTES))
    alone = st.binary(max_size=60) | st.lists(st.sampled_from(NOISE_BYTES + [w.encode() for w in WORDS]), max_size=12).map(
        b" ".join
    )
    return (around | alone).map(lambda text: configured("text", text))


@st.composite
def from_settings(draw: st.DrawFn) -> Case:
    base = draw(st.sampled_from(BASES))
    settings = []
    if draw(st.booleans()):
        numbers = [path for path in paths(base) if type(at(base, path)) in (int, float)]
        settings = [f"{'.'.join(map(str, draw(st.sampled_from(numbers))))}={draw(st.sampled_from(MILD))}"]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1]) if settings else st.integers(1, 2))):
        known = st.sampled_from(list(paths(base))).map(lambda path: ".".join(map(str, path)))
        odd = st.sampled_from(
            [
                "",
                ".",
                "a..b",
                "measures",
                "measures.nu.flows.99",
                "measures.nu.flows.-1",
                "metrics.0.\u0663",
                "x" * 999,
                "a." * 3000 + "b",
            ]
        )
        path = draw(known | odd | st.lists(keys, max_size=4).map(".".join))
        written = values.map(lambda value: tomli_w.dumps({"v": value}).removeprefix("v = ").strip())
        text = draw(written | st.sampled_from(NOISE) | st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(WORDS))
        settings.append(f"{path}{draw(st.sampled_from(['=', '=', '=', '=', '==', '', ' = ']))}{text}")
    return configured("set", tomli_w.dumps(base).encode(), *settings)


# Data files

DTYPES = ["<f8", ">f8", "<f4", ">f2", "<i8", ">i4", "<u1", "?", "<c16", "<U3", "S2", "O", "V4", "<g", "<M8[s]", "<m8[ns]"]
CELLS = [0.0, 1.0, -1.0, 0.5, 3.0, float("nan"), float("inf"), 1e308, -1e308, 1e39, 5e-324]
SHAPES = [(12, 3), (12, 2), (1, 3), (3, 1), (0, 3), (3, 0), (0, 0), (), (3,), (2, 3, 1), (1, 1), (12, 16)]
LIES = [(10**12, 3), (3, 10**12), (2**63, 1), (2**64, 3), (-1, 3), (10**6, 10**6), (2**40,), (0, 2**60), (13, 3), (2, 3)]
SPOILERS = [
    b"\x93NUMPY",
    b"\x00" * 8,
    b"\xff" * 8,
    b"PK\x03\x04",
    b"(",
    b"'descr'",
    b"True",
    b"|O",
    b"-1",
    b"9" * 20,
    b"nan,inf\n",
    b"1e999",
]


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Arrays of many types and shapes, most of them points on the sphere, some with cells that are no coordinates."""
    if draw(st.booleans()):
        array = sphere(draw(st.integers(1, 14)), draw(st.sampled_from([3, 3, 3, 3, 1, 2, 5])))
        for _ in range(draw(st.integers(0, 2))):
            array[draw(st.integers(0, len(array) - 1)), draw(st.integers(0, array.shape[1] - 1))] = draw(st.sampled_from(CELLS))
        return np.asfortranarray(array) if draw(st.booleans()) else array
    shape, dtype = draw(st.sampled_from(SHAPES)), draw(st.sampled_from([*DTYPES, "structured"]))
    if dtype == "structured":
        return np.zeros(shape, [("a", "<f8"), ("b", "<i4")])
    return np.zeros(shape, dtype) if draw(st.booleans()) else np.ones(shape, "u1").astype(dtype)


@st.composite
def lying(draw: st.DrawFn) -> bytes:
    """An .npy file whose header says another shape or type than the bytes that follow have."""
    kind, order, shape = draw(st.sampled_from(DTYPES)), draw(st.booleans()), draw(st.sampled_from(LIES + SHAPES))
    said = f"{{'descr': {kind!r}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    head = draw(st.just(said) | spoilt(said, SPOILERS) | st.just(b"(" * 9000) | st.just(b"-" * 9000 + b"1"))
    version = draw(st.sampled_from([b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"]))
    length = len(head).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + length + head + draw(st.binary(max_size=64))


@st.composite
def csv(draw: st.DrawFn) -> bytes:
    cells = st.sampled_from(
        [*map(str, CELLS), "", "x", "1;2", '"1"', "0x1", "1_0", "\u0661", "#", "1e999", "\x00", "True", "9" * 400]
    )
    good = st.sampled_from(["1,0,0", "0,1,0", "0,0,-1", "0.6,0.8,0"])
    lines = draw(st.lists(good | st.lists(cells, min_size=1, max_size=5).map(",".join), max_size=8))
    ends = draw(st.sampled_from(["\n", "\r\n", "\r", "\n\n", ";"]))
    return draw(st.sampled_from(["", "x,y,z\n", "# x\n", "\ufeff"])).encode() + ends.join(lines).encode()


@st.composite
def data_file(draw: st.DrawFn) -> tuple[str, bytes]:
    """An ending and bytes, which need not agree."""
    array = draw(arrays())
    plain = array if array.dtype.kind in "biuf" and array.dtype.isnative and array.itemsize <= 8 else sphere()
    ending = draw(st.sampled_from([".npy", ".npz", ".csv", ".safetensors"]))
    content = {".npy": npy(array), ".csv": draw(csv())}.get(ending, b"")
    if ending == ".safetensors":
        content = safetensors({"x": np.ascontiguousarray(plain)})
    if ending == ".npz":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))) as archive:
            for name in draw(st.lists(st.sampled_from(["x.npy", "y.npy", "z.txt", ""]), max_size=2, unique=True)):
                archive.writestr(name or ".npy", draw(st.just(npy(array)) | lying() | st.binary(max_size=9)))
        content = packed.getvalue()
    if ending == ".npy":
        content = draw(st.just(content) | lying())
    if draw(st.integers(0, 3)) == 0:
        content = draw(spoilt(content, SPOILERS, 2) | st.binary(max_size=40))
    return draw(st.sampled_from([ending] * 12 + [".npy", ".csv", ".txt", ""])), content


@st.composite
def from_data(draw: st.DrawFn) -> Case:
    (ending, content), domain = draw(data_file()), draw(st.sampled_from(["sphere", "euclidean", "torus"]))
    table: dict[str, Any] = {"kind": "file", "path": f"points{ending}", "domain": domain}
    if domain == "euclidean":
        table["domain"] = {"kind": "euclidean", "base": "gaussian"}
    options = {
        "normalise": st.booleans(),
        "test_fraction": st.sampled_from([0.0, 0.5, 0.99]),
        "key": st.sampled_from(["x", "y", ""]),
        "test": st.sampled_from([f"points{ending}", "sphere.npy"]),
        "test_key": st.sampled_from(["x", "y"]),
        "columns": st.lists(st.integers(-1, 4), max_size=3),
        "header": st.integers(0, 3) | st.just(10**12),
        "targets": st.integers(0, 3) | st.just(10**12),
    }
    for name in draw(st.lists(st.sampled_from(["normalise", *sorted(options)]), max_size=2, unique=True)):
        table[name] = draw(options[name])
    measures: dict[str, Any] = {"nu": {"init": "data", "flows": ["langevin"]}, "gamma": {"init": {"kind": "uniform", "size": 4}}}
    if draw(st.integers(0, 3)) == 0:
        measures["nu"]["init"] = {"kind": "file", "path": table["path"], "normalise": draw(st.booleans())}
        table = {"kind": "file", "path": "sphere.npy", "domain": domain if domain != "euclidean" else table["domain"]}
    feature = "relu" if domain == "sphere" else "relu-affine"
    raw = {"name": "data", "steps": 1, "step": 0.01, "data": table, "measures": measures, "observers": ["checkpoint"]}
    raw |= {"coupling": {"kind": "dual-ebm", "feature": feature}, "metrics": ["tv", "energy"]}
    case = configured("data", tomli_w.dumps(raw).encode())
    return attrs.evolve(case, files={**case.files, f"points{ending}": content})


# Run folders

COMMANDS: list[Commands] = [(("resume", "run", "--steps", steps, "--quiet"),) for steps in ("3", "4", "4")]
COMMANDS += [(("show", "run"),)] * 3 + [(("report", "run"),), (("report", "run", "good", "--out", "both.html"),)]
COMMANDS += [(("compare", "run", "good"),), (("figure", "run"),)]
CELL = st.sampled_from(
    [None, True, "x", "", [], {}, [1], {"a": 1}, -1, 0, 3, 10**400, 2**63, 0.5, "1", "step-1", float("nan"), 1e308]
)


@st.composite
def respelt(draw: st.DrawFn, content: bytes) -> bytes:
    """A file of JSON lines, or one of JSON, with a value replaced, dropped or added."""
    lines = content.decode().splitlines() if content.startswith(b'{"') else [content.decode()]
    at = draw(st.integers(0, max(len(lines) - 1, 0)))
    row = json.loads(lines[at]) if lines and lines[at].strip() else {}
    places = [path for path in paths(row) if len(path) < 4]
    if not places or draw(st.integers(0, 5)) == 0:
        row = draw(CELL)
    else:
        *parents, last = draw(st.sampled_from(places))
        node: Any = row
        for key in parents:
            node = node[key]
        match draw(st.sampled_from(["set", "set", "drop", "add"])):
            case "set":
                node[last] = draw(CELL)
            case "drop":
                del node[last]
            case _ if isinstance(node, dict):
                node[draw(keys)] = draw(CELL)
    lines[at : at + 1] = [json.dumps(row)]
    return "\n".join(lines).encode() + b"\n"


@st.composite
def from_folder(draw: st.DrawFn, template: Mapping[str, bytes]) -> Case:
    """One or two files of a run spoilt in some way, found by listing the folder."""
    files: dict[str, bytes | str | None] = {}
    for name in draw(st.lists(st.sampled_from(sorted(template)), min_size=1, max_size=2, unique=True)):
        content = template[name]
        way = draw(st.sampled_from(["bytes", "bytes", "bytes", "json", "json", "other", "gone", "folder", "empty"]))
        if way == "json" and name.endswith((".json", ".jsonl")):
            files[name] = draw(respelt(content))
        elif way in ("json", "bytes") and name.endswith(".toml"):
            raw = tomllib.loads(content.decode())
            changed(draw, raw)
            files[name] = tomli_w.dumps(raw).encode() if way == "json" else draw(spoilt(content, NOISE_BYTES))
        elif way == "other":
            files[name] = template[draw(st.sampled_from(sorted(template)))]
        else:
            files[name] = {"gone": None, "folder": "", "empty": b""}.get(way, draw(spoilt(content, SPOILERS)))
    return Case("folder", {**BESIDE, **files}, draw(st.sampled_from(COMMANDS)))


def cases(target: str, template: Mapping[str, bytes]) -> st.SearchStrategy[Case]:
    """The cases of one target."""
    made = {"tables": from_tables, "text": from_text, "set": from_settings, "data": from_data}
    return from_folder(template) if target == "folder" else made[target]()
