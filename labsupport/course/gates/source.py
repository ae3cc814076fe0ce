"""Gates on what the code cells do: seeded, offline, without sleeps, nothing silenced.

Each gate is a function from a notebook to a list of findings, empty if all is well.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from urllib.parse import urlsplit

from labsupport.course.cells import Notebook, code_cells, lab, tags, where
from labsupport.course.gates.syntax import Call, calls, parse, trees

# What makes a generator of its own, if it is given a seed; and what only wraps one that is looked at by
# itself.
SEEDED = {
    "random.Random",
    *(f"numpy.random.{name}" for name in ("default_rng", "SeedSequence", "RandomState", "PCG64", "Philox")),
}
WRAPS_A_GENERATOR = {"numpy.random.Generator"}
NEVER_SEEDED = {"uuid.uuid1", "uuid.uuid4", "os.urandom", "os.getrandom", "random.SystemRandom"}
CLOCKS = re.compile(
    r"time\.(time|monotonic|perf_counter|process_time)(_ns)?|datetime\.(datetime\.)?(now|utcnow)"
)

SLEEPS = {"time.sleep", "asyncio.sleep"}
OWN_LOOP = {"asyncio.run", "asyncio.Runner"}

# Packages whose calls open connections to the address they are given.
NETWORK = (
    *("requests.", "urllib.request.", "httpx.", "aiohttp.", "websockets.", "sseclient.", "pandas.read_"),
    *("labsupport.clients.", "labsupport.processes.", "labsupport.measure."),
)
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
RESERVED = (".example", ".test", ".invalid")  # RFC 2606: names that belong to nobody
SHELL = (".system", ".getoutput", ".run_line_magic", ".run_cell_magic")  # what `!` and `%` lines become
FETCHES = re.compile(r"\b(pip3?|conda|mamba|micromamba|uv|curl|wget|git|apt|apt-get|npm)\b")


def code_is_python(notebook: Notebook) -> list[str]:
    """Each code cell can be parsed, unless failing to is its point (tag `raises-exception`)."""
    findings = []
    for index, cell in code_cells(notebook):
        try:
            parse(cell)
        except SyntaxError as error:
            if "raises-exception" not in tags(cell):
                findings.append(f"{where(notebook, index)} is not Python: {error.msg}, line {error.lineno}.")
    return findings


def seeded_randomness(notebook: Notebook) -> list[str]:
    """Every random number comes from a generator made with a named seed.

    Not allowed: functions of the modules random and numpy.random (all code shares their generator), a
    generator without a seed or seeded from a clock, uuid1 and uuid4, os.urandom, secrets, and hash() of a
    clock.
    """
    return [
        f"{where(notebook, call.index)}: {call.name}() {problem}: draw from random.Random(SEED) or "
        "numpy.random.default_rng(SEED)."
        for call in calls(notebook)
        if (problem := _unseeded(call))
    ]


def _unseeded(call: Call) -> str | None:
    if call.name in SEEDED:
        given = [*call.node.args, *(keyword.value for keyword in call.node.keywords)]
        if not given or (isinstance(given[0], ast.Constant) and given[0].value is None):
            return "has no seed"
        return "is seeded from a clock" if _reads_a_clock(call) else None
    if call.name == "hash" and _reads_a_clock(call):
        return "takes its value from a clock"
    if call.name in NEVER_SEEDED or call.name.startswith("secrets."):
        return "cannot be seeded"
    if call.name.startswith(("random.", "numpy.random.")) and call.name not in WRAPS_A_GENERATOR:
        return "draws from a generator that all code shares"
    return None


def _reads_a_clock(call: Call) -> bool:
    return any(CLOCKS.fullmatch(name) for name in call.inner)


def no_star_import(notebook: Notebook) -> list[str]:
    """Every name is imported by name."""
    return [
        f"{where(notebook, index)}: 'from {node.module} import *' hides where names come from: name each one."
        for index, tree in trees(notebook)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    ]


def no_loop_of_its_own(notebook: Notebook) -> list[str]:
    """A notebook already has a running loop: `await` at the top of a cell, never asyncio.run()."""
    return [
        f"{where(notebook, call.index)}: {call.name}() cannot start inside a notebook's loop: write `await`."
        for call in calls(notebook)
        if call.name in OWN_LOOP or call.name.endswith(".run_until_complete")
    ]


def no_sleep(notebook: Notebook) -> list[str]:
    """Nothing waits by the clock for what has an event; a wait that is the lesson says why in its
    metadata.
    """
    return [
        f"{where(notebook, call.index)}: {call.name}() waits by the clock: wait for the event itself, or, if "
        "the wait is the lesson, give the reason in the cell's metadata, lab.sleep_reason."
        for call in calls(notebook)
        if call.name in SLEEPS and not lab(notebook.cells[call.index], "sleep_reason")
    ]


def no_download(notebook: Notebook) -> list[str]:
    """Nothing is installed or fetched, and every address that is called is on this machine."""
    findings = []
    for call in calls(notebook):
        if call.name.endswith(SHELL) and (found := FETCHES.search(f"{call.text(0)} {call.text(1)}")):
            findings.append(
                f"{where(notebook, call.index)} runs {found[1]}: chapters install and fetch nothing; what is "
                "needed stands in pyproject.toml."
            )
        if call.name.startswith(NETWORK) and (host := _foreign_host(call.text(0, "url", "uri", "base_url"))):
            findings.append(
                f"{where(notebook, call.index)}: {call.name}() goes to {host}: a chapter works with the "
                "network unplugged; serve it from this machine."
            )
    return findings


def _foreign_host(address: str) -> str | None:
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https", "ws", "wss"} or host in LOOPBACK or host.endswith(RESERVED):
        return None
    return host


def no_silencing_semicolon(notebook: Notebook) -> list[str]:
    """No cell ends in `;`: nbval's kernel does not honour it and would see an output that the page lacks."""
    return [
        f"{where(notebook, index)} ends in ';', which the tests' kernel does not honour: write `_ = …`."
        for index, cell in code_cells(notebook)
        if _last_token(cell.source) == ";"
    ]


def _last_token(source: str) -> str:
    last = ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type != tokenize.COMMENT and token.string.strip():
                last = token.string
    except (tokenize.TokenError, SyntaxError):  # magics are no Python; nor is a cell that shows a mistake
        return source.rstrip()[-1:]
    return last
