"""What the tests of all rooms share."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# `pytest` alone finds what `python -m pytest` finds: the rooms, and the tests' own shared modules.
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
