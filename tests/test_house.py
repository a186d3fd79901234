"""Who may import whom: a package imports only from packages below it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "locreg"
HEAVY = {"deepinv", "matplotlib", "numpy", "onnx", "onnxruntime", "pyvips", "safetensors"}
HEAVY |= {"scipy", "torch"}

# From the bottom to the top; what stands together must not import each other.
FLOORS = [
    {"root"},
    {"images", "engine"},
    {"degradation"},
    {"solvers"},
    {"regularizer"},
    {"training", "restoration"},
    {"report"},
    {"evaluation"},
    {"cli"},
    {"__main__"},
]
FLOOR_OF = {package: floor for floor, packages in enumerate(FLOORS) for package in packages}
FILES = sorted(SOURCE.rglob("*.py"))


def package_of(module):
    """The package of a module such as locreg.solvers.lbfgs; files beside the packages are root."""
    name = module.split(".")[1] if "." in module else "root"
    return name if name in FLOOR_OF else "root"


def module_of(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """(module, names, whether it runs when the file is imported) of each import."""

    def visit(node, runs):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            runs = False
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            yield node.module, [alias.name for alias in node.names], runs
        if isinstance(node, ast.Import):
            yield from ((alias.name, [], runs) for alias in node.names)
        runs = runs and not isinstance(node, ast.FunctionDef)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, runs)

    return list(visit(ast.parse(path.read_text()), True))


def internal(path):
    """The modules of locreg that a file imports, each with the names taken from it."""
    for module, names, _ in imports(path):
        if module == "locreg" or module.startswith("locreg."):
            modules = {module_of(file) for file in FILES}
            inside = [name for name in names if f"{module}.{name}" in modules]
            for name in inside:
                yield f"{module}.{name}", []
            if len(inside) < len(names) or not names:
                yield module, [name for name in names if name not in inside]


def test_every_package_has_a_floor_and_says_what_it_is_for():
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert packages == set(FLOOR_OF) - {"root", "__main__"}
    assert len(FLOORS) <= 10
    for path in SOURCE.rglob("*/__init__.py"):
        tree = ast.parse(path.read_text())
        assert len(tree.body) == 1, f"{path} holds more than a docstring"
        assert ast.get_docstring(tree), f"{path} does not say what the package is for"


def test_a_package_imports_only_from_packages_below_it(capsys):
    arrows = set()
    for path in FILES:
        importer = package_of(module_of(path))
        for module, _ in internal(path):
            imported = package_of(module)
            if imported != importer:
                arrows.add((importer, imported))
    upward = sorted(f"{a} -> {b}" for a, b in arrows if FLOOR_OF[b] >= FLOOR_OF[a])
    with capsys.disabled():
        print(f"\n{len(FLOORS)} floors, {len(arrows)} arrows, {len(upward)} upward")
    assert not upward


def test_files_do_not_import_each_other_in_a_circle():
    below = {module_of(path): {module for module, _ in internal(path)} for path in FILES}
    done, current = set(), []

    def visit(module):
        assert module not in current, " -> ".join([*current, module])
        if module in done or module == "locreg":
            return
        current.append(module)
        for imported in below.get(module, ()):
            visit(imported)
        done.add(current.pop())

    for module in below:
        visit(module)


def test_no_private_name_leaves_its_file():
    for path in FILES:
        for module, names in internal(path):
            private = [name for name in names if re.match(r"_[^_]", name)]
            assert not private, f"{path} imports {private} from {module}"


def test_the_command_line_imports_nothing_heavy_to_show_its_help():
    files = {module_of(path): path for path in FILES}
    seen, waiting = set(), ["locreg.cli.main"]
    while waiting:
        module = waiting.pop()
        seen.add(module)
        for imported, _, runs in imports(files[module]):
            if not runs:
                continue
            assert imported.split(".")[0] not in HEAVY, f"{module} imports {imported}"
            if imported in files and imported not in seen:
                waiting.append(imported)


@pytest.mark.parametrize("path", FILES, ids=lambda path: module_of(path))
def test_files_and_functions_are_short(path):
    """At most 400 lines in a file, and 60 in the body of a function."""
    assert len(path.read_text().splitlines()) <= 400
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= (40 if node.name == "restore" else 60), node.name
