"""The cheat sheet: four snippets in JavaScript, and the same four in Python, each of them run by the tests.

    snippet("sse", "js")          # the text, as the chapter shows it
    run_in_browser(snippet("sse", "js"), url=server.url)
    from labsupport.teach.snippets import sse;  await sse.follow(url, print)

The JavaScript is the body of an async function that sees url, show and signal, as run_in_browser gives them.
A snippet is short on purpose: one room, no token. What a program needs besides stands in labsupport/clients,
which does the same with every end told and every wait drawn from a seed.
"""

from pathlib import Path

NAMES = ("short_polling", "long_polling", "sse", "websocket")
LANGUAGES = ("js", "py")


def snippet(name: str, language: str) -> str:
    """The snippet's text. Raises ValueError for one that there is not."""
    if name not in NAMES or language not in LANGUAGES:
        raise ValueError(
            f"snippets are {', '.join(NAMES)}, in {' or '.join(LANGUAGES)}; got {name!r}, {language!r}"
        )
    return Path(__file__).with_name(f"{name}.{language}").read_text(encoding="utf-8")
