"""Who may import whom: layer by layer, in fresh interpreters and in the source text."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import napari_appearrefine

PACKAGE = Path(napari_appearrefine.__file__).parent
INTERFACE = ("napari", "qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "superqt", "magicgui")
FORBIDDEN = {
    "core": ("torch", *INTERFACE),
    "engine": INTERFACE,
    "files": ("torch", *INTERFACE),
    "evaluation": ("torch", *INTERFACE),
    "training": INTERFACE,
    "cli": ("torch", *INTERFACE),
    "plugin/widgets": ("torch",),
}
LAYERS_A_LAYER_MAY_IMPORT = {
    "core": {"core"},
    "files": {"files", "core"},
    "evaluation": {"evaluation", "files", "core"},
    "engine": {"engine", "core", "files"},
}


def modules_of(layer: str) -> list[str]:
    root = PACKAGE / layer
    names = []
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        names.append(".".join(("napari_appearrefine", *(parts[:-1] if parts[-1] == "__init__" else parts))))
    return names


def loaded_by(modules: list[str]) -> set[str]:
    code = f"import sys\nfor name in {modules!r}: __import__(name)\nprint(*{{m.split('.')[0] for m in sys.modules}})"
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_layer_loads_nothing_forbidden(layer: str) -> None:
    modules = modules_of(layer)
    assert modules
    assert not loaded_by(modules) & set(FORBIDDEN[layer])


def test_what_a_run_will_take_is_known_without_torch() -> None:
    assert "torch" not in loaded_by(["napari_appearrefine.engine.expectation"])


def test_dock_opens_without_libraries_that_only_its_work_needs() -> None:
    code = "import sys, napari_appearrefine.plugin.widgets.refine_panel; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "cv2", "scipy.ndimage"} & set(result.stdout.split())


def test_importing_the_package_loads_neither_torch_nor_napari() -> None:
    loaded = loaded_by(["napari_appearrefine"])
    assert "napari_appearrefine" in loaded
    assert not loaded & {"torch", "numpy", "cv2", *INTERFACE}


@pytest.mark.parametrize("layer", LAYERS_A_LAYER_MAY_IMPORT)
def test_layer_imports_only_what_lies_below(layer: str) -> None:
    """Imports inside functions count as well: they hide a wrong direction from sys.modules."""
    wrong = []
    for file in sorted((PACKAGE / layer).rglob("*.py")):
        for imported in imports_within_the_package(file):
            if imported and imported not in LAYERS_A_LAYER_MAY_IMPORT[layer]:
                wrong.append(f"{file.relative_to(PACKAGE)} imports {imported}")
    assert not wrong


def test_plugin_imports_the_engine_inside_functions_only() -> None:
    wrong = []
    for file in sorted((PACKAGE / "plugin").rglob("*.py")):
        for imported in imports_within_the_package(file, top_level_only=True):
            if imported in {"engine", "training", "cli"}:
                wrong.append(f"{file.relative_to(PACKAGE)} imports {imported}")
    assert not wrong


def imports_within_the_package(file: Path, top_level_only: bool = False) -> list[str]:
    """Return the first-level module of every import of this package; "" is the package itself."""
    tree = ast.parse(file.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    folder = file.relative_to(PACKAGE).parent.parts
    found = []
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = folder[: len(folder) - node.level + 1]
            path = (*base, *(node.module or "").split("."))
            path = tuple(part for part in path if part)
            found.extend([path[0]] if path else [alias.name for alias in node.names if (PACKAGE / alias.name).exists()])
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "napari_appearrefine":
            parts = (node.module or "").split(".")
            found.append(parts[1] if len(parts) > 1 else "")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == "napari_appearrefine":
                    found.append(parts[1] if len(parts) > 1 else "")
    return found
