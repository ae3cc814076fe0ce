"""The tests of this room compute with the committed profile, whichever the reader has chosen."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def reference_profile() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_PROFILE", "reference")
        yield
