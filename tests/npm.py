"""What tests need from npm: the packages of a package.json, installed in a folder of their own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

NPM_S = 120  # seconds for npm to fetch a few packages


def install(source: Path, folder: Path) -> str | None:
    """Install what source/package.json names into `folder`; what npm said if it could not, else None."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        return "node and npm are not on the PATH: apt-get install nodejs npm"
    for path in source.iterdir():
        shutil.copy(path, folder)
    quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error")
    try:
        done = subprocess.run(
            ["npm", "install", "--prefer-offline", *quiet],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=NPM_S,
        )
    except subprocess.TimeoutExpired:
        return f"npm did not install its packages within {NPM_S} s"
    said = " ".join(line.removeprefix("npm error ") for line in done.stderr.splitlines()[:3])
    return None if done.returncode == 0 else f"npm could not install its packages: {said}"
