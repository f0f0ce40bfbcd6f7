"""Nothing we ship unpickles, evaluates text or downloads models, and what we install is pinned."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = ("pipeline", "training", "export", "flows", "benchmarks", "examples")
FILES = sorted(path for folder in SHIPPED for path in (ROOT / folder).rglob("*.py"))

# Modules whose data runs code when it is read.
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
# Functions that run text, unpickle, or fetch models, by the end of their dotted names.
CALLS = {
    "eval",
    "exec",
    "__import__",
    "torch.load",
    "torch.save",
    "torch.hub",
    "onnx.hub",
    "read_pickle",
    "to_pickle",
    "yaml.load",
    "yaml.unsafe_load",
    "os.system",
}


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def dangers(text: str) -> Iterator[str]:
    """What in Python code could run what it reads."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute | ast.Name):
            names = [dotted(node)]
        else:
            names = []
        for name in (one for one in names if not one.startswith("safetensors.")):
            if name.partition(".")[0] in MODULES:
                yield name
            if any(name == call or name.endswith(f".{call}") for call in CALLS - {"eval", "exec"}):
                yield name
        if isinstance(node, ast.Call):
            yield from _dangerous_call(node)


def _dangerous_call(node: ast.Call) -> Iterator[str]:
    name = dotted(node.func)
    words = {one.arg: ast.unparse(one.value) for one in node.keywords}
    if name in ("eval", "exec", "compile"):
        yield name
    if name in ("np.load", "numpy.load") and words.get("allow_pickle") != "False":
        yield f"{name} without allow_pickle=False"
    if words.get("allow_pickle") == "True" or words.get("weights_only") == "False":
        yield f"{name} with pickles allowed"
    if words.get("shell") == "True":
        yield f"{name} through a shell"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_of_ours_runs_what_it_reads(path: Path) -> None:
    assert list(dangers(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from cloudpickle import loads",
        "import joblib.memory",
        "torch.load(path)",
        "from torch import load, hub\nhub.load('x')",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
        "eval(text)",
        "yaml.load(text)",
        "onnx.hub.load('resnet')",
        "from onnx import hub",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_search_finds_what_it_looks_for(text: str) -> None:
    assert list(dangers(text))


def test_onnx_runtime_is_given_audited_models_only() -> None:
    """Sessions are made of a bundle's audited bytes, or of a model that was built this moment."""
    given, makers = set(), set()
    for path in (one for one in FILES if one.relative_to(ROOT).parts[0] != "benchmarks"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and dotted(node.func).endswith("InferenceSession"):
                makers.add(str(path.relative_to(ROOT)))
            if isinstance(node, ast.Call) and dotted(node.func) == "Session":
                given.add(ast.unparse(node.args[0]).partition("(")[0])
    assert makers == {"pipeline/runtime.py"}
    # The gate, an encoder about to be sealed, half of an audited decoder, a bundle's model by name,
    # and two that are built where they are run: the fitted prologue, the texts of conditions.
    assert given == {
        "bundle.model",
        "model",
        "g.model",
        "serialised",
        "files[_ENCODER]",
        "half.SerializeToString",
        "audited",
    }


# ------------------------------------------------------------------------------- what is installed


@pytest.fixture(scope="module")
def lock() -> str:
    return (ROOT / "requirements.lock").read_text()


def test_every_locked_package_has_hashes(lock: str) -> None:
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", lock)[1:]
    assert len(blocks) > 150
    for block in blocks:
        assert re.match(r"[A-Za-z0-9._-]+==[^ ;]+( ; .+)? \\\n", block), block
        assert "--hash=sha256:" in block, block


def test_torch_comes_by_its_version_because_every_machine_has_its_own_build(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = [one for one in project["optional-dependencies"]["train"] if one.startswith("torch")]
    assert re.fullmatch(r"torch==\d+\.\d+\.\d+", pins[0])
    assert not re.search(r"(?m)^torch==", lock)


def test_the_lock_names_no_host_and_no_path(lock: str) -> None:
    assert not re.search(r"(?m)://| @ |^-", lock)
