"""A notebook after a run, brought into the one form that the same code always gives.

What a run leaves behind and the code did not say is taken out: cell ids drawn at random, execution counts
of earlier attempts, times, widget ids and states, the paths in a traceback, ports and addresses. What a
reader wants to see stays: text, tables, pictures.

An output that differs from run to run (a measured time, say) stands in a cell tagged
`nbval-ignore-output`. Such an output cannot be the same bytes twice, and a page without it would be
empty. So the stored output is *kept* for as long as the cell's source is unchanged: it is one real run,
shown as an example. `keep=None` takes the new ones.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections import Counter, defaultdict
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import nbformat

from labsupport.course.cells import Cell, Notebook, is_ignored

SANITIZE_FILE = Path(__file__).resolve().parents[2] / "tests" / "sanitize.cfg"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python"}

# Rules of sanitize.cfg that would take a picture out of the page: they are for comparing only.
COMPARISON_ONLY = frozenset({"figure-size", "png-data-uri"})
# What JupyterLab and nbclient write into a cell while it is run or looked at.
TRACES = frozenset({"execution", "ExecuteTime", "collapsed", "scrolled", "trusted"})

DATA_URI = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,[A-Za-z0-9+/=]+")

Rules = list[tuple[re.Pattern[str], str]]


def sanitize_rules(path: Path = SANITIZE_FILE) -> Rules:
    """The rules that also apply to stored text, in the file's order.

    Raises FileNotFoundError if there is no such file: the lab is run from its own folder.
    """
    config = ConfigParser(interpolation=None)
    with path.open(encoding="utf-8") as file:
        config.read_file(file)
    return [
        (re.compile(config[name]["regex"]), config[name]["replace"])
        for name in config.sections()
        if name not in COMPARISON_ONLY
    ]


def sanitize(text: str, rules: Rules) -> str:
    """`text` with each rule applied; embedded pictures are left alone, since base64 can look like an id."""
    pictures = DATA_URI.findall(text)
    parts = DATA_URI.split(text)
    for pattern, replacement in rules:
        parts = [pattern.sub(replacement, part) for part in parts]
    return "".join(part + picture for part, picture in zip(parts, [*pictures, ""], strict=True))


def normalise(notebook: Notebook, keep: Notebook | None = None, rules: Rules | None = None) -> Notebook:
    """A normalised copy of `notebook`; ignored cells keep the outputs that `keep` has for the same source.

    A cell's id is a hash of its kind and source (and -2, -3 … for twins): a diff then shows the cells
    that changed and no others, wherever a new one is put in.
    """
    rules = sanitize_rules() if rules is None else rules
    nb = copy.deepcopy(notebook)
    nb.nbformat, nb.nbformat_minor = 4, 5
    nb.metadata = nbformat.from_dict(
        {"kernelspec": KERNELSPEC, "language_info": LANGUAGE}
        | {key: value for key, value in nb.metadata.items() if key == "lab"}
    )
    stored = _outputs_by_source(keep)
    twins: Counter[str] = Counter()
    count = 0
    for cell in nb.cells:
        cell.id = _cell_id(cell, twins)
        cell.metadata = nbformat.from_dict(_metadata(cell.metadata))
        if cell.cell_type != "code":
            continue
        cell.execution_count = None
        outputs = cell.outputs
        if cell.source.strip():
            count += 1
            cell.execution_count = count
        if is_ignored(cell) and stored[cell.source]:
            outputs = stored[cell.source].pop(0)
        cell.outputs = [_output(output, count, rules) for output in _merged(outputs)]
    return nb


def to_bytes(notebook: Notebook) -> bytes:
    """The file's content. Raises nbformat.ValidationError if the notebook isn't a valid one."""
    nbformat.validate(notebook)
    text: str = nbformat.writes(notebook)
    return (text.rstrip("\n") + "\n").encode()


def _cell_id(cell: Cell, twins: Counter[str]) -> str:
    digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
    twins[digest] += 1
    return digest if twins[digest] == 1 else f"{digest}-{twins[digest]}"


def _metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in metadata.items() if key not in TRACES and value not in ({}, [])}
    # JupyterLab's property panel leaves these two behind once a tag has been edited; they say nothing.
    if kept.get("editable") is True:
        del kept["editable"]
    if kept.get("slideshow") == {"slide_type": ""}:
        del kept["slideshow"]
    return kept


def _outputs_by_source(keep: Notebook | None) -> dict[str, list[list[Any]]]:
    """For each source of an ignored cell its stored outputs, in the notebook's order; cells without any
    left out.
    """
    found: dict[str, list[list[Any]]] = defaultdict(list)
    for cell in keep.cells if keep is not None else []:
        if cell.cell_type == "code" and cell.outputs and is_ignored(cell):
            found[cell.source].append(copy.deepcopy(cell.outputs))
    return found


def _merged(outputs: list[Any]) -> list[Any]:
    """Neighbouring pieces of one stream as one: how a text was cut up is the kernel's timing, not the
    code's.
    """
    merged: list[Any] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == "stream" == last.output_type and output.name == last.name:
            last.text += output.text
        else:
            merged.append(copy.deepcopy(output))
    return merged


def _output(output: Any, count: int, rules: Rules) -> Any:
    if output.output_type == "stream":
        output.text = sanitize(output.text, rules)
    elif output.output_type == "error":
        output.evalue = sanitize(output.evalue, rules)
        # The frames name this machine's folders. One line stays, since pages on the web show the
        # traceback only.
        output.traceback = [f"{output.ename}: {output.evalue}"]
    else:
        output.data.pop(WIDGET_VIEW, None)
        for kind, value in output.data.items():
            if isinstance(value, str) and (kind.startswith("text/") or kind == "image/svg+xml"):
                output.data[kind] = sanitize(value, rules)
        if output.output_type == "execute_result":
            output.execution_count = count
    return output
