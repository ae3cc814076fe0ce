"""What Sphinx and its theme lack for these pages, as an extension.

Formulas become MathML, which every browser draws by itself: no script, and nothing is loaded from elsewhere.
And the headings in the theme's sidebar say of which level they are, as ARIA asks.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert


def inline(translator: Any, node: nodes.math) -> None:
    """A formula inside a sentence."""
    translator.body.append(convert(node.astext(), display="inline"))
    raise nodes.SkipNode


def block(translator: Any, node: nodes.math_block) -> None:
    """A formula in its own line."""
    translator.body.append(f'<div class="lab-formula">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def level(app: Any, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Give the sidebar's headings their level."""
    bar = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = bar.replace('role="heading"', 'role="heading" aria-level="2"')


def slug(heading: str) -> str:
    """The name of a place, as JupyterLab makes it from a heading: what the chapters' links say."""
    return heading.strip().replace(" ", "-")


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this: `html_math_renderer = "mathml"` is known from here on."""
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    app.connect("html-page-context", level, priority=900)  # after the theme has made its sidebar
    return {"parallel_read_safe": True, "parallel_write_safe": True}
