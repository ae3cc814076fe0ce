"""What every chapter must be: one table of gates, each from a notebook to a list of findings.

    from labsupport.course.gates import GATES, findings
    findings(nbformat.read("notebooks/01_short_polling.ipynb", 4))     # {} if all is well

A finding is a sentence that names the cell and says what to do. `python -m labsupport notebooks --gates`
prints them; tests/notebooks/ applies each gate to each chapter, and tests/course/ proves that each gate
can go red.
"""

from __future__ import annotations

from collections.abc import Callable

from labsupport.course.cells import Notebook
from labsupport.course.gates import pages, prose, shape, source

Gate = Callable[[Notebook], list[str]]

GATES: dict[str, Gate] = {
    gate.__name__: gate
    for gate in (
        shape.every_cell_executed,
        shape.stored_in_normal_form,
        shape.small_file,
        shape.short_code_cells,
        shape.prose_before_code,
        shape.headings_in_order,
        shape.opening_cell,
        shape.closing_cell,
        shape.lesson_parts,
        source.code_is_python,
        source.seeded_randomness,
        source.no_star_import,
        source.no_loop_of_its_own,
        source.no_sleep,
        source.no_download,
        source.no_silencing_semicolon,
        pages.alt_text,
        pages.reasons_for_ignoring,
        pages.errors_are_meant,
        pages.nothing_on_stderr,
        pages.nothing_of_one_machine,
        prose.numbers_in_prose,
    )
}


def findings(notebook: Notebook) -> dict[str, list[str]]:
    """Every gate that has something to say about the notebook, with what it says."""
    return {name: said for name, gate in GATES.items() if (said := gate(notebook))}
