"""One truth for what the lab needs: pyproject.toml, environment.yml, the lock and the README say the same."""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from labsupport.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
CONDA_NAMES = {"matplotlib": "matplotlib-base"}  # on PyPI → on conda-forge, where they differ
TOOLS = {"python", "pip"}  # what conda installs before the lab's own packages
CONDA_SPEC = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*?)\s*(?P<range>[=<>!~].*)?")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def environment() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))


def ranges(project: dict[str, Any]) -> dict[str, SpecifierSet]:
    """What pyproject.toml asks for, by PyPI name."""
    return {canonicalize_name(r.name): r.specifier for r in map(Requirement, project["dependencies"])}


def conda_ranges(environment: dict[str, Any]) -> dict[str, str]:
    """What environment.yml asks for, by conda-forge name, the range as it is written."""
    found = {}
    for line in environment["dependencies"]:
        if isinstance(line, str):
            match = CONDA_SPEC.fullmatch(line)
            assert match, f"environment.yml: '{line}' is not a package with a range"
            found[match["name"]] = match["range"] or ""
    return found


def test_conda_gets_the_same_packages_in_the_same_ranges(
    project: dict[str, Any], environment: dict[str, Any]
) -> None:
    here = {name: SpecifierSet(r) for name, r in conda_ranges(environment).items() if name not in TOOLS}
    assert here == {CONDA_NAMES.get(name, name): r for name, r in ranges(project).items()}


def test_conda_installs_the_project_itself_from_this_folder(environment: dict[str, Any]) -> None:
    by_pip = [line for line in environment["dependencies"] if not isinstance(line, str)]
    assert by_pip == [{"pip": ["-e ."]}]
    assert "pip" in conda_ranges(environment)


def test_conda_takes_packages_from_conda_forge_alone(environment: dict[str, Any]) -> None:
    assert environment["channels"] == ["conda-forge", "nodefaults"]


def test_conda_pins_python_in_the_one_form_that_binder_reads(
    project: dict[str, Any], environment: dict[str, Any]
) -> None:
    pinned = re.fullmatch(r"=(3\.\d+)", conda_ranges(environment)["python"])
    assert pinned, "repo2docker reads python=3.12 and no range; it would fall back to 3.10"
    assert SpecifierSet(project["requires-python"]).contains(f"{pinned[1]}.0")


def test_conda_understands_each_line(environment: dict[str, Any]) -> None:
    rattler = pytest.importorskip("rattler", reason="py-rattler does not install here")
    for line in environment["dependencies"]:
        if isinstance(line, str):
            rattler.MatchSpec(line, strict=True)


def test_the_ranges_admit_what_is_installed_here(project: dict[str, Any]) -> None:
    outside = {name: version(name) for name, r in ranges(project).items() if not r.contains(version(name))}
    assert outside == {}


def test_the_ranges_admit_what_the_lock_pins(project: dict[str, Any]) -> None:
    locked = [
        Requirement(line) for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines() if line
    ]
    wanted = ranges(project)
    pinned = [(canonicalize_name(r.name), next(iter(r.specifier)).version) for r in locked]
    assert {name for name, _ in pinned} >= set(wanted)
    assert [(n, v) for n, v in pinned if n in wanted and not wanted[n].contains(v)] == []


# The README's commands


CODE = re.compile(r"^```\w*\n(.*?)^```|^(?: {4}|\t)([^\n]*)$|`([^`\n]+)`", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:\$ )?(?:\S*[/\\])?(?:python\d?|pip|jupyter|conda|mamba|micromamba|make)\s")


def shell_commands(markdown: str) -> list[list[str]]:
    """The words of each command in the README's code, a leading `$ ` and comments left out."""
    lines = [line for groups in CODE.findall(markdown) for text in groups for line in text.splitlines()]
    single = [part.strip() for line in lines if COMMAND.match(line.strip()) for part in line.split("&&")]
    return [shlex.split(part.removeprefix("$ "), comments=True, posix=False) for part in single]


def problem(command: list[str], project: dict[str, Any]) -> str | None:
    """Why the command could not work in a fresh clone, None if it can (or isn't one of ours)."""
    text = " ".join(command).replace("\\", "/")
    named = re.findall(r"(?:-r|-f|--file) (\S+)", text) + re.findall(r"\S+\.ipynb", text)
    if files := [name for name in named if not (ROOT / name).exists()]:
        return f"'{text}': there is no file {files[0]}"
    if found := re.search(r"-m labsupport(?: ([a-z]+))?(?= |$)", text):
        return None if found[1] in {None, *COMMANDS} else f"'{text}': labsupport has no command {found[1]}"
    if (found := re.search(r"-m (servers\.\w+|labsupport\.\w+)", text)) and not importlib.util.find_spec(
        found[1]
    ):
        return f"'{text}': there is no module {found[1]}"
    if found := re.search(r"(?:pip|conda|mamba|micromamba) install (.*)", text):
        return _unknown_packages(text, found[1].split(), project)
    return None


def _unknown_packages(text: str, words: list[str], project: dict[str, Any]) -> str | None:
    known = set(ranges(project)) | TOOLS | {CONDA_NAMES.get(n, n) for n in ranges(project)} | {"uv"}
    extras = set(project["optional-dependencies"])
    takes_a_value = {"-r", "-c", "-e", "--channel", "--requirement"}
    for before, word in zip(["", *words], words, strict=False):
        if own := re.fullmatch(r"['\"]?\.(?:\[([\w,-]+)\])?['\"]?", word):
            missing = {e.strip() for e in (own[1] or "").split(",") if e} - extras
            if missing:
                return f"'{text}': pyproject.toml has no extra {', '.join(sorted(missing))}"
        elif not word.startswith("-") and before not in takes_a_value:
            name = canonicalize_name(re.split(r"[<>=!~\[ ]", word.strip("'\""))[0])
            if name not in known:
                return f"'{text}': {name} is not in pyproject.toml"
    return None


@pytest.mark.parametrize("page", ["README.md", "docs/instructors.md"])
def test_every_command_on_a_page_can_work(project: dict[str, Any], page: str) -> None:
    commands = shell_commands((ROOT / page).read_text("utf-8"))
    assert commands, f"{page} shows no command"
    assert [said for command in commands if (said := problem(command, project))] == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("pip install -r requirements.lock", None),
        ("pip install -r requirements.txt", "no file requirements.txt"),
        ("pip install -e .", None),
        (".venv\\Scripts\\python -m pip install --no-deps -e .", None),
        ("pip install -e '.[test]'", None),
        ("pip install -e '.[tests]'", "no extra tests"),
        ("pip install 'aiohttp>=3.11' nothing-such", "nothing-such is not in pyproject.toml"),
        ("conda env create -f environment.yml", None),
        ("conda env create -f conda.yml", "no file conda.yml"),
        ("python -m labsupport notebooks --check", None),
        ("python -m labsupport dance", "no command dance"),
        ("python -m servers.nothing --port 0", "no module servers.nothing"),
        ("python -m venv .venv && pip install nothing-such", "nothing-such is not in pyproject.toml"),
        (".venv\\Scripts\\jupyter lab notebooks/99_nothing.ipynb", "no file notebooks/99_nothing.ipynb"),
    ],
)
@pytest.mark.parametrize("form", ["```sh\n$ {}  # a comment\n```", "Text:\n\n    {}\n", "run `{}` there"])
def test_a_command_that_cannot_work_is_found(
    form: str, line: str, said: str | None, project: dict[str, Any]
) -> None:
    found = [problem(command, project) for command in shell_commands(form.format(line))]
    assert len(found) == line.count("&&") + 1
    assert (found[-1] or "").endswith(said or ""), found
    assert (found[-1] is None) == (said is None)
