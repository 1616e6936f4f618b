"""Imports go one way: no module imports one that is further right in ORDER."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "pose_topo"

# left to right; a module may import what stands left of it, or beside it in the same row
ORDER = [
    ["core"],
    ["study"],
    ["data"],
    ["rendering", "download"],
    ["scoring", "topography"],
    ["models"],
    ["pictures"],
    ["training"],
    ["stages"],
    ["bench"],
    ["commands.app"],
    ["commands"],
    ["cli"],
    ["__main__"],
]  # fmt: skip


def rank(module: str) -> int:
    """Place in ORDER: the most specific entry that names the module or its package."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        for place, row in enumerate(ORDER):
            if name in row:
                return place
    raise AssertionError(f"{module} has no place in the flow")


def imports(path: Path, *, types: bool = True) -> set[str]:
    """The modules of pose_topo that a file imports; without `types`, not those under `if TYPE_CHECKING`."""
    found, tree = set(), ast.parse(path.read_text(encoding="utf-8"))
    if not types:
        tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node))]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pose_topo"):
            base = node.module.removeprefix("pose_topo").lstrip(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".lstrip(".")
                is_module = (ROOT / (full.replace(".", "/") + ".py")).is_file() or (
                    ROOT / full.replace(".", "/")
                ).is_dir()
                found.add(full if is_module else base)
    return found - {""}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_imports_to_its_right(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if module == "__init__" or (path.name == "__init__.py" and "." not in module and module not in ("data",)):
        return
    wrong = [name for name in imports(path) if rank(name) > rank(module)]
    assert wrong == []


def test_training_reaches_few_modules():
    reached, left = set(), ["training.loop"]
    while left:
        module = left.pop()
        path = ROOT / (module.replace(".", "/") + ".py")
        if module in reached or not path.is_file():
            continue
        reached.add(module)
        left += imports(path, types=False)
    long = [name for name in reached if len((ROOT / (name.replace(".", "/") + ".py")).read_text().splitlines()) > 3]
    assert len(long) <= 35, sorted(long)
    assert not {name for name in reached if name.startswith("download") or name in ("data.dataset", "data.mpii")}


def test_figures_import_nothing_of_torch():
    forbidden = {"torch", "torchvision"}
    for path in (ROOT.parent / "paper_figures").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & forbidden, path
