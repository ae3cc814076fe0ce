"""Copy the student's edition to where a student works, again and again, never over the student's own work.

The folder keeps a small list of what it was given (.lab-given.json: file -> SHA-256). A file that is still as
it was given is replaced by the new one. A file that the student has changed stays, and the new one is put
beside it: 03_name.new.ipynb, for the student to look at.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LIST = ".lab-given.json"


@dataclass(frozen=True)
class HandedOut:
    """What became of each file, by its name."""

    folder: Path
    new: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()  # changed by the student: the new one lies beside it

    def __str__(self) -> str:
        lines = [
            f"{self.folder}: {len(self.new)} new, {len(self.updated)} updated, {len(self.same)} as they were"
        ]
        stays = "has your own work in it and stays; the new one is"
        return "\n".join(lines + [f"    {name} {stays} {beside(name)}" for name in self.beside])


def beside(name: str) -> str:
    """The name for a new file beside a changed one: 03_name.new.ipynb."""
    path = Path(name)
    return f"{path.stem}.new{path.suffix}"


def hand_out(files: Mapping[str, bytes], folder: Path) -> HandedOut:
    """Put the files (name -> bytes) into the folder, as the module says.

    Raises OSError where the folder can't be written to. A list that can't be read counts as empty: then every
    file that differs is taken for the student's own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given = _read_list(folder)
    became: dict[str, list[str]] = {"new": [], "updated": [], "same": [], "beside": []}
    for name, content in files.items():
        place, digest = folder / name, _digest(content)
        if not place.exists():
            became["new"].append(name)
            _write(place, content)
        elif (there := _digest(place.read_bytes())) == digest:
            became["same"].append(name)
        elif there == given.get(name):
            became["updated"].append(name)
            _write(place, content)
        elif given.get(name) == digest:
            became["same"].append(name)  # the student's own work on the newest edition
            continue
        else:
            became["beside"].append(name)
            _write(folder / beside(name), content)
            continue  # what the file was given as stays known
        given[name] = digest
    _write(folder / LIST, json.dumps(given, indent=1, sort_keys=True).encode() + b"\n")
    return HandedOut(folder, **{kind: tuple(names) for kind, names in became.items()})


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read_list(folder: Path) -> dict[str, str]:
    try:
        known = json.loads((folder / LIST).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(digest) for name, digest in known.items()} if isinstance(known, dict) else {}


def _write(place: Path, content: bytes) -> None:
    """Whole or not at all: a full disk never leaves half a notebook."""
    unfinished = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(place)
    finally:
        unfinished.unlink(missing_ok=True)
