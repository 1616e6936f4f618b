"""Imports go one way, and the house keeps its size. `python tests/test_flow.py` prints the numbers."""

import ast
import statistics
from collections import Counter
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


def length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def modules() -> dict[Path, int]:
    """The modules of more than three lines, and their lengths."""
    tops = [ROOT, *(ROOT.parent / name for name in ("paper_figures", "tools"))]
    lengths = {path: length(path) for top in tops for path in top.rglob("*.py")}
    return {path: lines for path, lines in lengths.items() if lines > 3}


def folders() -> Counter[Path]:
    """How many Python files each folder holds, tests included."""
    tops = [ROOT, *(ROOT.parent / name for name in ("paper_figures", "tools", "tests"))]
    return Counter(path.parent for top in tops for path in top.rglob("*.py"))


def reached(start: str) -> set[str]:
    """The modules of more than three lines that a module of pose_topo imports, directly or not, and itself."""
    found, left = set(), [start]
    while left:
        module = left.pop()
        path = ROOT / (module.replace(".", "/") + ".py")
        if module not in found and path.is_file():
            found.add(module)
            left += imports(path, types=False)
    return {module for module in found if length(ROOT / (module.replace(".", "/") + ".py")) > 3}


def test_training_reaches_few_modules():
    found = reached("training.loop")
    assert len(found) <= 35, sorted(found)
    assert not {name for name in found if name.startswith("download") or name in ("data.dataset", "data.mpii")}


def test_the_house_keeps_its_size():
    assert len(modules()) <= 110
    assert {str(folder): count for folder, count in folders().items() if count > 15} == {}


def test_figures_import_nothing_of_torch():
    forbidden = {"torch", "torchvision"}
    for path in (ROOT.parent / "paper_figures").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & forbidden, path


def main() -> None:
    """Print the numbers."""
    (largest, count), *_ = folders().most_common(1)
    print(f"modules of more than 3 lines: {len(modules())}")
    print(f"lines: {sum(modules().values()):,}")
    print(f"modules reached from training.loop: {len(reached('training.loop'))}")
    print(f"largest folder: {largest.relative_to(ROOT.parent)}, {count} files")
    print(f"median file length: {statistics.median(modules().values()):g}")


if __name__ == "__main__":
    main()
