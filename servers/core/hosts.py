"""Which names a server answers to: the guard against pages that point their own name at this machine.

DNS rebinding: evil.example means its owner's machine first, and then, all at once, 127.0.0.1. The browser
takes a server here for evil.example, and lets the page that came from there read all that it answers: for the
browser both are one origin. But the name stands in Host, which no page can change. So a server looks there.

Allowed are this machine's own names and addresses (localhost, 127.0.0.1, [::1]), the address at which the
connection came in, --host, --allow-host, and the hosts of --allow-origin.

jupyter-server-proxy passes on the Host that the browser sent it. On one machine that is localhost:8888, and
fine. Under JupyterHub and Binder it is the hub's name, which a server cannot know, and so any name is allowed
there: those servers run in a place of their own, where no reader's browser finds them under 127.0.0.1.
"""

import argparse
import os
import re
from collections.abc import Container
from urllib.parse import urlsplit

from servers.core import lifeline

ANY = "*"  # among the names: all are allowed
HUB = "JUPYTERHUB_SERVICE_PREFIX"  # in the environment of whatever JupyterHub (and so Binder) started

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]@/]+)(?::[0-9]{1,5})?")


def add_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[ANY] if HUB in os.environ else [],
        metavar="NAME",
        help="answer to this name in Host as well, and let its pages in; repeatable; * is any name",
    )


def names(options: argparse.Namespace) -> frozenset[str]:
    """The names that were given at the start: of --host, --allow-host, and the hosts of --allow-origin."""
    of_origins = [urlsplit(origin).hostname or "" for origin in options.allow_origin]
    given = [options.host, *options.allow_host, *of_origins]
    return frozenset(name.strip("[]").lower() for name in given) - {""}


def name_of(field: str) -> str:
    """The name in a Host field, in lower case and without port and brackets; "" if it is none."""
    match = _HOST.fullmatch(field.strip())
    return match[1].strip("[]").lower() if match else ""


def is_own(field: str, own: Container[str], here: str = "") -> bool:
    """Whether a Host field names this server. `own`: see names(); `here`: the connection's own address."""
    name = name_of(field)
    return bool(name) and (lifeline.is_loopback(name) or name == here.lower() or name in own or ANY in own)


def is_its_page(origin: str, field: str) -> bool:
    """Whether a page of this origin came from the very name that it now asks, and that is no loopback name.

    For a name that was allowed, as behind a proxy. Between pages of loopback names, which are many people's,
    the server decides by its own rule.
    """
    name = name_of(field)
    if not name or lifeline.is_loopback(name):
        return False
    return origin.lower() in (f"http://{field.strip().lower()}", f"https://{field.strip().lower()}")
