"""The first half of the chapters in a real browser: see chapters.py."""

from tests.browser.chapters import (
    CHAPTERS,
    each_of,
    pytestmark,
    test_each_slider_moves_by_keyboard_and_its_picture_follows,
    test_every_control_is_reached_by_the_tab_key,
    test_no_output_has_a_serious_accessibility_finding_in_either_theme,
    test_the_browsers_own_client_starts_and_shows_rows,
    test_the_chapter_runs_without_an_unmeant_error_and_without_stderr,
    test_the_page_said_nothing_on_its_console_and_asked_no_other_machine,
    test_the_whole_chapter_is_photographed_in_light_and_in_dark,
)

__all__ = [
    "chapter",
    "pytestmark",
    "test_each_slider_moves_by_keyboard_and_its_picture_follows",
    "test_every_control_is_reached_by_the_tab_key",
    "test_no_output_has_a_serious_accessibility_finding_in_either_theme",
    "test_the_browsers_own_client_starts_and_shows_rows",
    "test_the_chapter_runs_without_an_unmeant_error_and_without_stderr",
    "test_the_page_said_nothing_on_its_console_and_asked_no_other_machine",
    "test_the_whole_chapter_is_photographed_in_light_and_in_dark",
]

chapter = each_of(CHAPTERS[: len(CHAPTERS) // 2])
