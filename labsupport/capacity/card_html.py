"""The card as a page that needs nothing beside it: light and dark, narrow and wide, tables with headers."""

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labsupport.capacity.card import Card, Table

# The course's ink, ground and rules (4.5:1 for all text, both ways).
STYLE = """
:root{color-scheme:light dark;--ground:#fff;--ink:#1f2328;--muted:#59616b;--rule:#dde1e6;--band:#eff1f4}
@media (prefers-color-scheme:dark){
:root{--ground:#111;--ink:#e6e8eb;--muted:#a4acb6;--rule:#33383e;--band:#1d2024}}
body{margin:0 auto;padding:16px;max-width:900px;background:var(--ground);color:var(--ink);
font:14px/1.45 system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif}
h1{font-size:20px;line-height:1.25;margin:0 0 8px}p{margin:0 0 12px}
table{border-collapse:collapse;width:100%;margin:0 0 18px}
caption{text-align:left;font-weight:600;padding:6px 0}
th,td{text-align:left;vertical-align:top;padding:3px 10px 3px 0;border-top:1px solid var(--rule)}
thead th{color:var(--muted);font-weight:400;border-top:0}
tbody th{font-weight:400}
tr.decides{background:var(--band)}tr.decides th,tr.decides td{font-weight:600}
td,th{overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}.scroll:focus-visible{outline:2px solid var(--ink)}.quiet{color:var(--muted)}
@media print{body{max-width:none;font-size:10px}table{margin-bottom:8px}}
""".strip()

DECIDES = "decides"


def page(card: "Card") -> str:
    """The whole document."""
    tables = "\n".join(_table(one) for one in card.tables)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(card.title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{_text(card.title)}</h1>\n<p>{_text(card.answer)}</p>\n{tables}\n"
        f'<p class="quiet">{_text(card.left_out)}</p>\n</main>\n</body>\n</html>\n'
    )


def _table(table: "Table") -> str:
    columns = "".join(f'<col style="width:{share:.0%}">' for share in table.widths)
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in table.columns)
    rows = "\n".join(_row(row, i == table.marked) for i, row in enumerate(table.rows))
    return (
        f'<div class="scroll" role="region" aria-label="{html.escape(table.title, quote=True)}" tabindex="0">'
        f"<table>\n<caption>{_text(table.title)}</caption>\n<colgroup>{columns}</colgroup>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>"
    )


def _row(row: tuple[str, ...], marked: bool) -> str:
    first, *others = row
    said = f" ({DECIDES})" if marked else ""
    cells = "".join(f"<td>{_text(cell)}</td>" for cell in others)
    kind = ' class="decides"' if marked else ""
    return f'<tr{kind}><th scope="row">{_text(first + said)}</th>{cells}</tr>'


def _text(words: str) -> str:
    return html.escape(words, quote=False)
