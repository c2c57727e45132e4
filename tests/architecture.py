"""Owns the rules on the shape of the code, each a function from a project root to the violations found there.

Must not know pytest, nor what any of our modules does.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

LAYERS: tuple[tuple[str, ...], ...] = (
    ("backoff", "errors"),
    ("schema",),
    ("config",),
    ("batch", "board", "channel", "logs", "metrics", "planning", "run_id", "signals"),
    ("decode", "fold", "rows"),
    ("contract",),
    ("stores", "sql"),
    ("sinks",),
    ("lake",),
    ("source",),
    ("worker",),
    ("redrive",),
    ("medallion",),
    ("membership", "keeper"),
    ("supervisor",),
    ("status",),
    ("embedded",),
    ("preflight", "demo", "accounting", "sampling", "query"),
    ("commands",),
    ("cli",),
    ("reference",),
)
"""Modules and packages inside ingestd, lowest layer first. A layer imports its own and lower ones."""

ONLY_ERRORS_BELOW = {"embedded": {"errors"}}
"""Layers that could serve another project: they import nothing else of ours."""

DRIVERS = {"postgres": "psycopg", "sqlite": "sqlite3"}
"""Folder of a database inside stores and sinks -> its driver, which only that folder imports."""

HEAVY = ("confluent_kafka", "psycopg", "pyarrow")
"""Libraries paid for after the fork, in the child that uses them."""

JUNK_DRAWERS = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
MAX_FILE_LINES = 399
MAX_FUNCTION_LINES = 59
MAX_PUBLIC_METHODS = 8

# In pieces, so that this file does not hold what it forbids.
FORBIDDEN_TEXT = {
    "a path of one machine": re.compile(r"(?<![\w.~$}/-])/(?:work|root|home/\w+|Users/\w+|opt/wheels)(?=[/\s\"'`:]|$)"),
    "a package registry's host": re.compile(
        r"\b(?:pypi\.or[g]|pythonhosted\.or[g]|registry\.npmj[s]|repo1?\.maven\.|crates\.i[o]|proxy\.golan[g]|deb\.debia[n])"
    ),
    "unfinished work": re.compile(r"\b(?:TOD[O]|FIXM[E]|XX[X])\b"),
}


def sources(root: Path, *folders: str) -> list[Path]:
    """Python files under the folders, sorted."""
    return sorted(path for folder in folders for path in (root / folder).rglob("*.py"))


def module_name(root: Path, path: Path) -> str:
    """Dotted name of the module in this file."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(root: Path, path: Path, known: set[str]) -> Iterator[tuple[int, str]]:
    """(line, module of ours) for every import in the file, also those inside functions."""
    package = module_name(root, path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                target = f"{origin}.{alias.name}" if f"{origin}.{alias.name}" in known else origin
                if target in known:
                    yield node.lineno, target


def _layer(module: str) -> int | None:
    part = module.split(".")[1]
    levels = {name: level for level, names in enumerate(LAYERS) for name in names}
    return levels.get(part)


def unplaced_modules(root: Path) -> list[str]:
    """Modules of ingestd that no layer names."""
    names = (module_name(root, path) for path in sources(root, "ingestd"))
    return [f"{name}: in no layer of tests/architecture.py" for name in names if "." in name and _layer(name) is None]


def upward_imports(root: Path) -> list[str]:
    """Imports against the order of the layers, and of bench or tests by ingestd."""
    found = []
    files = {module_name(root, path): path for path in sources(root, "ingestd", "bench", "tests")}
    for name, path in files.items():
        if not name.startswith("ingestd."):
            continue
        own, part = _layer(name), name.split(".")[1]
        for line, target in imports(root, path, set(files)):
            if target == "ingestd":
                continue
            where = f"{path.relative_to(root)}:{line}: {name} imports {target}"
            target_part = target.split(".")[1] if "." in target else ""
            if not target.startswith("ingestd."):
                found.append(f"{where}, which is no part of the package")
            elif own is not None and (_layer(target) or 0) > own:
                found.append(f"{where}, a higher layer")
            elif part != target_part and target_part not in ONLY_ERRORS_BELOW.get(part, {target_part}):
                found.append(f"{where}, but may only import {sorted(ONLY_ERRORS_BELOW[part])}")
    return found


def mixed_databases(root: Path) -> list[str]:
    """Imports of one database's driver or folder in what serves another database, or all of them."""
    found = []
    for path in sources(root, "ingestd/stores", "ingestd/sinks"):
        own = path.parent.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in names:
                of = {folder for folder, driver in DRIVERS.items() if {folder, driver} & set(name.split("."))}
                # What opens a store chooses among all of them, inside its functions.
                chosen = path.name == "open.py" and isinstance(node, ast.ImportFrom) and node.col_offset
                if of - {own} and not chosen:
                    found.append(f"{path.relative_to(root)}:{node.lineno}: imports {name}, another database's")
    return found


def import_cycles(root: Path) -> list[str]:
    """Circles of imports, each reported once, from its first module by name."""
    files = {module_name(root, path): path for path in sources(root, "ingestd", "bench", "tests")}
    graph = {name: sorted({to for _, to in imports(root, path, set(files))} - {name}) for name, path in files.items()}
    found: set[tuple[str, ...]] = set()
    finished: set[str] = set()

    def follow(name: str, trail: list[str]) -> None:
        if name in trail:
            circle = trail[trail.index(name) :]
            turn = circle.index(min(circle))
            found.add((*circle[turn:], *circle[:turn]))
        elif name not in finished:
            for target in graph[name]:
                follow(target, [*trail, name])
            finished.add(name)

    for name in graph:
        follow(name, [])
    return [" -> ".join([*circle, circle[0]]) for circle in sorted(found)]


def long_files(root: Path) -> list[str]:
    """Files of 400 lines or more."""
    lengths = ((path, len(path.read_text(encoding="utf-8").splitlines())) for path in _all(root))
    return [f"{path.relative_to(root)}: {lines} lines" for path, lines in lengths if lines > MAX_FILE_LINES]


def long_functions(root: Path) -> list[str]:
    """Functions of 60 lines or more; a function inside counts towards the outer one."""
    found = []
    for path in sources(root, "ingestd", "bench"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    found.append(f"{path.relative_to(root)}:{node.lineno}: {node.name} has {lines} lines")
    return found


def wide_classes(root: Path) -> list[str]:
    """Classes with more than eight public methods; a property is an attribute, not a method."""
    found = []
    for path in sources(root, "ingestd", "bench"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                methods = [
                    item.name
                    for item in node.body
                    if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
                    and not item.name.startswith("_")
                    and "property" not in map(ast.unparse, item.decorator_list)
                ]
                if len(methods) > MAX_PUBLIC_METHODS:
                    found.append(f"{path.relative_to(root)}:{node.lineno}: {node.name} has {len(methods)}")
    return found


def junk_drawers(root: Path) -> list[str]:
    """Modules and packages whose name says nothing of what they own."""
    found = []
    for path in _all(root):
        name = module_name(root, path).split(".")[-1]
        if name.lower() in JUNK_DRAWERS:
            found.append(f"{path.relative_to(root)}: name it after what it owns")
    return found


def heavy_imports(root: Path, module: str) -> list[str]:
    """Libraries of `HEAVY` that importing the module from this root loads, seen in a fresh interpreter."""
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r}); import {module}\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        return [f"{module} cannot be imported: {done.stderr.strip().splitlines()[-1]}"]
    return [f"importing {module} loads {name}" for name in done.stdout.split()]


def tracked_files(root: Path) -> list[Path]:
    """Files that git tracks; the repository may belong to another user, as in a container."""
    command = ["git", "-c", "safe.directory=*", "-C", str(root), "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    return [root / name for name in listed.split("\0") if name and (root / name).is_file()]


def forbidden_text(root: Path, paths: Iterable[Path]) -> list[str]:
    """Machine paths, package registries' hosts and notes of unfinished work, with file and line."""
    found = []
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(lines, 1):
            for what, pattern in FORBIDDEN_TEXT.items():
                if match := pattern.search(line):
                    found.append(f"{path.relative_to(root)}:{number}: {what}: {match.group()}")
    return found


def _all(root: Path) -> list[Path]:
    return sources(root, "ingestd", "bench", "tests", "scripts")
