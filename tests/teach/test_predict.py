"""Predictions: optional, recorded, and compared in one line."""

from __future__ import annotations

import pytest

from labsupport.teach import predict as ask
from labsupport.teach.predict import Prediction, predict
from labsupport.teach.readable import readable, with_unit

BECAUSE = "e^(−λT): messages are rare"


def prediction() -> Prediction:
    return Prediction("empty answers in 100 polls", 0, 100, "")


def compared(guess: Prediction, capsys: pytest.CaptureFixture[str], actual: float = 92) -> str:
    guess.compare(actual, because=BECAUSE)
    return capsys.readouterr().out


def test_who_went_on_without_guessing_gets_one_line_that_is_the_same_each_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compared(prediction(), capsys) == f"you did not guess; it was 92: {BECAUSE}\n"


def test_a_guess_that_is_off_is_told_where_the_gap_is(capsys: pytest.CaptureFixture[str]) -> None:
    guess = prediction()
    guess.say(60)
    assert compared(guess, capsys) == f"you said 60, it was 92: the gap is in {BECAUSE}\n"


def test_a_guess_that_is_near_is_praised_instead(capsys: pytest.CaptureFixture[str]) -> None:
    guess = prediction()
    guess.say(90)
    assert compared(guess, capsys) == f"you said 90, it was 92: well guessed, it is in {BECAUSE}\n"


def test_the_button_records_where_the_slider_stands() -> None:
    guess = prediction()
    guess._control.value = 70
    assert guess.answer is None
    guess._button.click()
    assert guess.answer == 70
    assert "Noted: 70. Now run the next cell." in guess._note.value


def test_who_guesses_after_the_run_still_hears_the_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    guess = prediction()
    compared(guess, capsys)
    guess.say(60)
    assert "You said 60, it was 92: the gap is in" in guess._note.value


def test_the_unit_stands_behind_what_came(capsys: pytest.CaptureFixture[str]) -> None:
    guess = Prediction("mean delay", 0.0, 1000.0, "ms")
    guess.say(10)
    assert compared(guess, capsys, 512.3456).startswith("you said 10, it was 512\N{NO-BREAK SPACE}ms: ")


def test_a_guess_outside_of_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match="120 is outside of 0 to 100"):
        prediction().say(120)


def test_predict_shows_the_question_and_returns_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Prediction] = []
    monkeypatch.setitem(predict.__globals__, "display", shown.append)
    guess = predict("How many are empty?", 0, 100, unit="of 100")
    assert shown == [guess]
    assert (
        repr(guess) == "Your guess, before you run on: How many are empty? (0 to 100\N{NO-BREAK SPACE}of 100)"
    )
    assert ask is predict


def test_a_range_of_many_decades_starts_in_its_geometric_middle() -> None:
    assert Prediction("requests", 1, 10_000, "", log=True)._control.value == pytest.approx(100)


@pytest.mark.parametrize(
    ("number", "text"),
    [(92, "92"), (92.0, "92"), (12_000, "12 000"), (0.9204, "0.92"), (-3.25, "−3.25"), (27.345, "27.3"),
     (1234.5, "1 234"), (1e-6, "1e−06")],
)  # fmt: skip
def test_numbers_are_written_as_a_reader_wants_them(number: float, text: str) -> None:
    assert readable(number) == text.replace(" ", "\N{NO-BREAK SPACE}")


def test_a_number_without_a_unit_has_no_space_behind_it() -> None:
    assert with_unit(5) == "5"
