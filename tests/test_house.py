"""The house keeps its shape: imports follow the arrows, files stay readable, no machine shines through."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import nbformat
import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]

# Who may import whom: a room, and the rooms of this house that it may name (its own always). No arrow
# runs back up.
ARROWS: dict[str, set[str]] = {
    "servers": {"servers.core"},
    "servers.core": set(),
    "labsupport": set(),  # labsupport/__init__.py itself
    "labsupport.__main__": set(),  # finds its commands by name, when they are called
    "labsupport.processes": set(),
    "labsupport.profile": set(),
    "labsupport.wire": set(),
    "labsupport.draws": set(),  # the random numbers that backoff, clients and models share
    "labsupport.backoff": {"labsupport.draws"},
    "labsupport.clients": {"labsupport.wire", "labsupport.backoff", "labsupport.draws"},
    "labsupport.measure": {
        "labsupport.clients",
        "labsupport.processes",
        "labsupport.wire",
        "labsupport.profile",
    },
    "labsupport.models": {"labsupport.backoff", "labsupport.draws"},
    "labsupport.capacity": {"labsupport.profile"},
    "labsupport.sweep": set(),
    "labsupport.teach": set(),
    "labsupport.bench_page": {"labsupport.measure", "labsupport.teach"},  # the bench without a notebook
    "labsupport.zoo": {"labsupport.teach", "labsupport.wire"},  # a check draws, and ends endless answers
    "labsupport.course": {"labsupport.teach"},
}

# Lines: a file that is read in one sitting, a function that is seen at once. A file of tests is looked up by
# its tests' names and not read from the top.
MAX_FILE_LINES = 400
MAX_TEST_FILE_LINES = 800
MAX_FUNCTION_LINES = 50
# What is longer, and why it reads better so: "path" or "path::function".
LONGER: dict[str, str] = {}

# Written so that this file doesn't hold them itself.
MACHINE_PATHS = [
    "/" + path + "/" for path in ("work", "root", "tmp/bash_jobs", "home/[a-z]+", "Users/[A-Za-z]+")
]
DATA_URI = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=]+|\"image/png\": \"[^\"]*\"")
TEXT = {".py", ".md", ".ipynb", ".toml", ".yml", ".yaml", ".cfg", ".lock", ".json", ".js", ".css", ".txt", ""}


@cache
def tracked() -> list[Path]:
    """The files that a clone has; without git (an unpacked archive) all that are not hidden."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split("\0")
        paths = [ROOT / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [
            p for p in ROOT.rglob("*") if not any(part.startswith(".") for part in p.relative_to(ROOT).parts)
        ]
    return sorted(path for path in paths if path.is_file())


def python_files(*folders: str) -> list[Path]:
    return [p for p in tracked() if p.suffix == ".py" and p.relative_to(ROOT).parts[0] in folders]


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module(path: Path) -> str:
    """`labsupport.wire.http` for labsupport/wire/http.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(name: str) -> str | None:
    """The room that a module of this house lies in, None for a module from elsewhere."""
    if name.split(".")[0] not in {"servers", "labsupport", "tests"}:
        return None
    return next((r for r in sorted(ARROWS, key=len, reverse=True) if f"{name}.".startswith(f"{r}.")), name)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of each module that the file imports, also inside functions and by importlib."""
    package = module(path).split(".") + ([] if path.name != "__init__.py" else ["__init__"])
    known = {module(p) for p in tracked() if p.suffix == ".py"}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: -node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                yield node.lineno, whole if whole in known else source
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in {"import_module", "__import__"}:
                yield node.lineno, str(node.args[0].value)


def uphill(path: Path) -> list[str]:
    """The file's imports that run against the arrows."""
    here = room(module(path)) or ""
    allowed = ARROWS.get(here)
    if allowed is None:
        return [
            f"{short(path)} lies in no room of ARROWS: give its room a line there, with what it may import"
        ]
    others = ", ".join(sorted(allowed)) or "no other room"
    return [
        f"{short(path)}:{line} imports {name}, and {here} may import {others}"
        for line, name in imports(path)
        if (there := room(name)) is not None
        and there not in allowed
        # Inside a room files may lean on each other; servers may not: each is read, and run, by itself.
        and (there != here or (here == "servers" and name not in {"servers", module(path)}))
    ]


@pytest.mark.parametrize("path", python_files("servers", "labsupport"), ids=short)
def test_imports_follow_the_arrows(path: Path) -> None:
    assert uphill(path) == []


def test_an_import_against_the_arrows_is_found_however_it_is_written() -> None:
    wrong = ROOT / "labsupport" / "wire" / "_never_written.py"
    for source, name in [
        ("import labsupport.clients", "labsupport.clients"),
        ("from labsupport import clients", "labsupport.clients"),
        ("from ..clients import sse", "labsupport.clients"),
        ("from .. import teach", "labsupport.teach"),
        ("def f():\n    from servers.core import log", "servers.core"),
        ("import importlib\nimportlib.import_module('labsupport.models')", "labsupport.models"),
        ("import tests.conftest", "tests.conftest"),
    ]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "read_text", lambda self, *_, text=source: text)
            assert any(f"imports {name}" in found for found in uphill(wrong)), source


def test_a_server_that_imports_another_server_is_found_and_what_they_share_is_not() -> None:
    one = ROOT / "servers" / "_never_written.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_text", lambda self, *_: "from servers import long_polling")
        assert any("imports servers.long_polling" in found for found in uphill(one))
        patch.setattr(Path, "read_text", lambda self, *_: "from servers.core import board, http")
        assert uphill(one) == []


SERVERS = [p for p in python_files("servers") if p.parent == ROOT / "servers" and p.name != "__init__.py"]


@pytest.mark.parametrize("path", SERVERS, ids=short)
def test_every_file_in_servers_is_a_server_that_says_how_to_run_and_try_it(path: Path) -> None:
    source = path.read_text("utf-8")
    tree = ast.parse(source)
    said = ast.get_docstring(tree) or ""
    assert "Run it" in said
    assert f"python -m servers.{path.stem}" in said
    assert "Try it" in said
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert "main" in functions
    assert re.search(r"^if __name__ == .__main__.:", source, re.MULTILINE)


def lengths(path: Path) -> Iterator[tuple[str, int, int]]:
    """Each thing that has a limit: its name, its lines, the limit."""
    source = path.read_text("utf-8")
    in_tests = path.is_relative_to(ROOT / "tests")
    yield short(path), len(source.splitlines()), MAX_TEST_FILE_LINES if in_tests else MAX_FILE_LINES
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield f"{short(path)}::{node.name}", lines, MAX_FUNCTION_LINES


def test_files_and_functions_stay_short_or_say_why_not() -> None:
    found = [each for path in python_files("servers", "labsupport", "tests") for each in lengths(path)]
    longer = {name: f"{lines} lines, {limit} is the limit" for name, lines, limit in found if lines > limit}
    without_a_reason = {name: said for name, said in longer.items() if not LONGER.get(name)}
    assert without_a_reason == {}, "split it, or give the reason in LONGER"
    assert set(LONGER) <= set(longer), "a reason in LONGER is no longer needed: take it out"


def test_no_tracked_file_names_a_folder_of_one_machine() -> None:
    pattern = re.compile("|".join(rf"(?<![\w.:/]){path}" for path in MACHINE_PATHS))
    allowed = {"tests/course/test_gates.py"}  # its faults are such folders
    found = [
        f"{short(path)}:{number}: {match[0]}"
        for path in tracked()
        if path.suffix in TEXT and short(path) not in allowed
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if (match := pattern.search(DATA_URI.sub("", line)))
    ]
    assert found == []


def test_no_part_is_left_for_later() -> None:
    later = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|raise NotImplemented" + r"Error\(\)")
    found = [
        f"{short(path)}:{number}: {line.strip()}"
        for path in python_files("servers", "labsupport", "tests")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if later.search(line)
    ]
    assert found == []


MARKDOWN_LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")


def test_every_link_between_the_projects_pages_leads_somewhere() -> None:
    found = [
        f"{short(page)} → {target}"
        for page in tracked()
        for target in MARKDOWN_LINK.findall(prose(page))
        if not (page.parent / target).exists()
    ]
    assert found == []


def prose(page: Path) -> str:
    """The markdown of a page or a notebook, "" for any other file."""
    if page.suffix == ".ipynb":
        cells = nbformat.read(page, as_version=4).cells
        return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return page.read_text("utf-8") if page.suffix == ".md" else ""


# The lock


def locked() -> list[Requirement]:
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip()]


def test_the_lock_holds_names_and_versions_and_no_address() -> None:
    form = re.compile(r"[a-z0-9][a-z0-9.-]*==[0-9][\w.+!-]*(?: ; [\w.'\"<>=!* ()]+)?")
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    assert [line for line in lines if not form.fullmatch(line)] == []


def test_the_lock_satisfies_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [
        Requirement(line) for line in [*project["dependencies"], *project["optional-dependencies"]["test"]]
    ]
    versions: dict[str, list[Requirement]] = {}
    for entry in locked():
        versions.setdefault(canonicalize_name(entry.name), []).append(entry)
    for requirement in wanted:
        entries = versions.get(canonicalize_name(requirement.name), [])
        assert entries, f"{requirement.name} is not in requirements.lock: make it again with uv pip compile"
        for entry in entries:
            (pinned,) = entry.specifier
            assert requirement.specifier.contains(pinned.version, prereleases=True), (
                str(requirement),
                str(entry),
            )


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_the_lock_names_each_package_once_for_a_python(python: str) -> None:
    environment = {"python_version": python, "python_full_version": f"{python}.4", "sys_platform": "linux"}
    names = [e.name for e in locked() if e.marker is None or Marker(str(e.marker)).evaluate(environment)]
    assert sorted(names) == sorted(set(names))


# The Makefile


def make_targets() -> dict[str, bool]:
    """Each target of the Makefile, and whether it does anything."""
    rules: dict[str, bool] = {}
    text = (ROOT / "Makefile").read_text("utf-8")
    for match in re.finditer(r"^([a-z][\w-]*):(?!=)([^\n]*)\n((?:\t[^\n]*\n?)*)", text, re.MULTILINE):
        rules[match[1]] = bool(match[2].strip() or match[3].strip())
    for name in re.findall(r"^\.PHONY:(.*)$", text, re.MULTILINE):
        for target in name.split():
            rules.setdefault(target, False)
    return rules


def test_every_target_that_the_makefile_announces_does_something() -> None:
    assert [name for name, does in make_targets().items() if not does] == []


def test_every_make_command_in_the_readme_exists() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    code = " \n ".join(
        re.findall(r"```.*?```|`[^`\n]+`|^(?: {4}|\t)[^\n]*$", readme, re.DOTALL | re.MULTILINE)
    )
    named = set(re.findall(r"\bmake ([a-z][\w-]*)", code))
    assert named, "the README names no make command"
    assert named <= set(make_targets())
