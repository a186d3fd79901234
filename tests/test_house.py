"""Who may import whom: a room imports only from rooms above it in ARCHITECTURE.md."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "locreg"
HEAVY = {"torch", "deepinv", "dask", "matplotlib", "gradio", "pyvips"}


def order_of_rooms():
    """Rooms in the order of the table in ARCHITECTURE.md."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    return re.findall(r"^\| \d+ \| `(\w+)` \|", text, flags=re.MULTILINE)


def imports(path):
    """(module, whether imported when the file is) for each import but those for types only."""

    def visit(node, at_top):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        assert not getattr(node, "level", 0), f"{path.name} has a relative import"
        if isinstance(node, ast.ImportFrom):
            if node.module == "locreg":
                for alias in node.names:
                    yield f"locreg.{alias.name}", at_top
            else:
                yield node.module, at_top
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, at_top
        inside = at_top and not isinstance(node, ast.FunctionDef)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    return list(visit(ast.parse(path.read_text()), True))


def rooms():
    return {path.stem: path for path in SOURCE.glob("*.py") if path.stem != "__init__"}


def test_every_room_is_in_the_plan():
    assert sorted(order_of_rooms()) == sorted(rooms())


def test_rooms_import_only_from_rooms_above_them():
    order = order_of_rooms()
    for room, path in rooms().items():
        for module, _ in imports(path):
            if module.startswith("locreg."):
                other = module.split(".")[1]
                assert order.index(other) < order.index(room), f"{room} imports {other}"


def test_the_command_line_imports_nothing_heavy_to_show_its_help():
    seen, waiting = set(), ["cli"]
    while waiting:
        room = waiting.pop()
        seen.add(room)
        for module, at_top in imports(SOURCE / f"{room}.py"):
            if not at_top:
                continue
            assert module.split(".")[0] not in HEAVY, f"{room} imports {module}"
            if module.startswith("locreg.") and module.split(".")[1] not in seen:
                waiting.append(module.split(".")[1])
