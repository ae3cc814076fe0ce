"""Which transport? Seven questions, and what each answer has to do with it.

    decision_tree()                                    # the widget, for a cell's last line
    print(decide().explained())                        # its default case, as text
    decide(speaks="both, often").transport             # "WebSocket"

One set of rules: `decide` is what the widget calls for each answer. They are this course's advice, in the
order in which they are tried, and no law; each names what it looks at.
"""

from __future__ import annotations

import html
import pathlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anywidget
import traitlets as T

from labsupport.teach import theme

HERE = pathlib.Path(__file__).parent


@dataclass(frozen=True)
class Question:
    """`name` in code, the words, its answers (the first is the default), and why one asks."""

    name: str
    words: str
    answers: tuple[str, ...]
    why: str


QUESTIONS = (
    Question(
        "content",
        "What travels?",
        ("text, a few kB", "a stream of binary", "large files", "voice or video"),
        "An event stream carries text only; media would rather lose a packet than wait for it.",
    ),
    Question(
        "speaks",
        "Who speaks?",
        ("the server", "both, now and then", "both, often"),
        "A word now and then goes up by POST. A second direction pays when small messages go up often.",
    ),
    Question(
        "age",
        "How old may the data be?",
        ("under a second", "some seconds", "minutes"),
        "The latency budget. Whoever has minutes needs no open connection.",
    ),
    Question(
        "viewers",
        "Who sees the same data?",
        ("each their own", "many see the same"),
        "What many ask for in the same words, a cache can answer.",
    ),
    Question(
        "guarantee",
        "What may be missed?",
        ("old values: only the newest counts", "nothing: each message, once"),
        "No transport delivers everything through a cut; ids and a log do.",
    ),
    Question(
        "path",
        "What lies between?",
        ("TLS, or proxies that I can set up", "proxies that hold back long answers"),
        "A middlebox that buffers or cuts decides for you.",
    ),
    Question(
        "where",
        "Where is the reader?",
        ("on an open page", "also on a phone in a pocket"),
        "No socket outlives the background.",
    ),
)
DEFAULTS = {question.name: question.answers[0] for question in QUESTIONS}
_BY_NAME = {question.name: question for question in QUESTIONS}


@dataclass(frozen=True)
class Decision:
    """What comes out: `because` is the answer that decided, `also` what has to be built besides."""

    needs: Mapping[str, str]
    transport: str
    because: str
    also: tuple[str, ...]

    def explained(self) -> str:
        """The whole case as text: questions, answers, result."""
        width = max(len(question.words) for question in QUESTIONS)
        asked = [f"{question.words:<{width}}  {self.needs[question.name]}" for question in QUESTIONS]
        also = [f"  + {line}" for line in self.also]
        return "\n".join([*asked, f"{'→ ' + self.transport}: {self.because}", *also])


@dataclass(frozen=True)
class _Rule:
    """The first whose `when` is true decides."""

    when: Callable[[Mapping[str, str]], bool]
    transport: str
    because: str


def _is(name: str, *answers: int) -> Callable[[Mapping[str, str]], bool]:
    """True for these answers of a question, by their place."""
    allowed = {_BY_NAME[name].answers[place] for place in answers}
    return lambda needs: needs[name] in allowed


def _all(*conditions: Callable[[Mapping[str, str]], bool]) -> Callable[[Mapping[str, str]], bool]:
    return lambda needs: all(condition(needs) for condition in conditions)


RULES = (
    _Rule(
        _is("content", 3),
        "WebRTC, through a media server",
        "voice that comes late is worth nothing, so a lost packet is skipped and not waited for.",
    ),
    _Rule(
        _is("speaks", 2), "WebSocket", "small messages go up often, and each POST would carry its headers."
    ),
    _Rule(
        _is("age", 2), "short polling", "the data may be minutes old, so a question now and then costs least."
    ),
    _Rule(
        _all(_is("viewers", 1), _is("age", 1), _is("guarantee", 0)),
        "cached polling",
        "many ask the same within seconds, so caches answer, and the server sees one question a second.",
    ),
    _Rule(_is("content", 1), "WebSocket", "binary in an event stream would grow by a third, as base64."),
    _Rule(
        _is("path", 1),
        "long polling",
        "each of its answers ends, so nothing between has a reason to hold it back.",
    ),
    _Rule(lambda needs: True, "SSE", "the news goes one way, and the browser comes back by itself."),
)

_Extra = tuple[Callable[[Mapping[str, str], str], bool], str]


def _held(needs: Mapping[str, str], transport: str) -> bool:
    return transport in ("SSE", "WebSocket", "long polling")


EXTRAS: tuple[_Extra, ...] = (
    (
        lambda needs, transport: transport.startswith("WebRTC"),
        "signalling over a WebSocket, and TURN for whom UDP does not reach",
    ),
    (
        lambda needs, transport: _is("content", 2)(needs),
        "send only the file's address: the file itself is a GET, which caches and resumes",
    ),
    (
        lambda needs, transport: _is("speaks", 1)(needs) and transport != "WebSocket",
        "what the reader says goes up by POST",
    ),
    (
        lambda needs, transport: transport in ("short polling", "cached polling"),
        "ETag and 304, and jitter on every wait",
    ),
    (
        lambda needs, transport: _is("viewers", 1)(needs) and _held(needs, transport),
        "encode once for all, and spread them over many nodes or an edge that speaks the same",
    ),
    (
        lambda needs, transport: _is("guarantee", 1)(needs) and transport[:6] != "WebRTC",
        "ids, a log to replay from, and a reader that drops doubles",
    ),
    (
        lambda needs, transport: _is("guarantee", 0)(needs) and _held(needs, transport),
        "for a slow reader keep only the newest value",
    ),
    (
        lambda needs, transport: transport == "WebSocket",
        "reconnecting is yours to write: random waits, a place to go on from, pings",
    ),
    (
        lambda needs, transport: _is("path", 1)(needs) and transport == "WebSocket",
        "wss only, and long polling where even that is not let through",
    ),
    (
        lambda needs, transport: transport == "SSE",
        "heartbeats, HTTP/2, and X-Accel-Buffering: no",
    ),
    (
        lambda needs, transport: _is("where", 1)(needs),
        "the phone's own push (Web Push, APNs, FCM) while the page sleeps",
    ),
)


def decide(**needs: str) -> Decision:
    """The advice for these answers; what is not answered takes the first answer of its question."""
    for name, answer in needs.items():
        if name not in _BY_NAME:
            raise ValueError(f"There is no question {name!r}; there are: {', '.join(_BY_NAME)}")
        if answer not in _BY_NAME[name].answers:
            raise ValueError(f"{answer!r} is no answer to {name!r}; try: {'; '.join(_BY_NAME[name].answers)}")
    whole = {**DEFAULTS, **needs}
    rule = next(rule for rule in RULES if rule.when(whole))
    also = tuple(text for when, text in EXTRAS if when(whole, rule.transport))
    return Decision(whole, rule.transport, rule.because, also)


class DecisionTree(anywidget.AnyWidget):
    """The questions as groups of radio buttons, and the advice that follows each change.

    `needs` holds the answers, by question; set them from a cell, or press Tab and the arrow keys.
    """

    _esm = T.Unicode((HERE / "decision.js").read_text(encoding="utf-8")).tag(sync=True)
    _css = T.Unicode(
        f".lab-decision{{{theme.variables(theme.LIGHT)}}}"
        + theme.on_dark_pages(".lab-decision", theme.variables(theme.DARK))
        + (HERE / "decision.css").read_text(encoding="utf-8")
    ).tag(sync=True)
    questions: Any = T.List().tag(sync=True)
    needs: Any = T.Dict().tag(sync=True)
    advice: Any = T.Dict().tag(sync=True)

    def __init__(self, **needs: str) -> None:
        first = decide(**needs)
        self._start = first
        super().__init__(
            questions=[
                {"name": each.name, "words": each.words, "answers": list(each.answers), "why": each.why}
                for each in QUESTIONS
            ],
            needs=dict(first.needs),
            advice=_as_dict(first),
        )
        self.observe(self._answered, names="needs")

    @property
    def decision(self) -> Decision:
        """What the answers that are given now come to."""
        return decide(**self.needs)

    def _answered(self, change: Any) -> None:
        self.advice = _as_dict(self.decision)

    def words(self) -> str:
        """The case at the start, the same at each run."""
        return f"Which transport? {len(QUESTIONS)} questions; at first:\n{self._start.explained()}"

    def still_html(self) -> str:
        """The questions with their reasons, and the advice of the first case."""
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left">{html.escape(question.words)}</th>'
            f'<td style="text-align:left">{html.escape(self._start.needs[question.name])}</td>'
            f'<td style="text-align:left">{html.escape(question.why)}</td></tr>'
            for question in QUESTIONS
        )
        head = "".join(
            f'<th scope="col" style="text-align:left">{name}</th>' for name in ("question", "answer", "why")
        )
        also = "".join(f"<li>{html.escape(line)}</li>" for line in self._start.also)
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
            f"<p><b>{html.escape(self._start.transport)}</b>: {html.escape(self._start.because)}</p>"
            f"<ul>{also}</ul>"
        )

    def __repr__(self) -> str:
        return self.words()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:  # type: ignore[override]
        view = {"version_major": 2, "version_minor": 0, "model_id": self._model_id}
        return {
            "application/vnd.jupyter.widget-view+json": view,
            "text/plain": self.words(),
            "text/html": self.still_html(),
        }


def _as_dict(decision: Decision) -> dict[str, Any]:
    return {"transport": decision.transport, "because": decision.because, "also": list(decision.also)}


def decision_tree(**needs: str) -> DecisionTree:
    """The widget, beginning with these answers; put it last in a cell."""
    return DecisionTree(**needs)
