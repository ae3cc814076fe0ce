"""Every fourth chapter in a real browser, from the third on: see chapters.py."""

from tests.browser.chapters import *  # noqa: F403
from tests.browser.chapters import CHAPTERS, each_of

chapter = each_of(CHAPTERS[2::4])
