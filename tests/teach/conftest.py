"""What the tests of this room share."""

from __future__ import annotations

from typing import Any

import pytest

from labsupport.teach import figures


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The MIME bundles that figures have displayed."""
    bundles: list[dict[str, Any]] = []
    monkeypatch.setattr(figures, "display", lambda bundle, raw: bundles.append(bundle))
    return bundles
