"""`python -m labsupport grade`: the class's submissions in, a table out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from labsupport.course.grading.chapters import questions
from labsupport.course.grading.grading import Limits, grade_class
from labsupport.course.grading.submissions import find


def main(arguments: list[str]) -> int:
    """0 if every submission was graded, 1 if one could not be read, 2 if there was none."""
    options = _options(arguments)
    chapters = questions()
    submissions = find(options.submissions, chapters)
    if not submissions:
        print("There is no notebook in " + ", ".join(map(str, options.submissions)), file=sys.stderr)
        return 2

    def tell(graded: int, of: int) -> None:
        end = "\r" if sys.stderr.isatty() else "\n"
        print(f"graded {graded} of {of}", end=end, file=sys.stderr, flush=True)

    limits = Limits(options.seconds, int(options.memory_mb * 1_000_000))
    try:
        report = grade_class(submissions, chapters, limits, options.jobs, tell)
    except KeyboardInterrupt:
        print("\nStopped; nothing was written.", file=sys.stderr)
        return 130
    print(report.to_text())
    written = {options.html: report.to_html, options.csv: report.to_csv, options.json: report.to_json}
    for path, make in written.items():
        if path:
            path.write_text(make(), encoding="utf-8")
    return 1 if any(mark.verdict == "unreadable" for mark in report.marks) else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m labsupport grade", description="Grade submissions.")
    parser.add_argument(
        "submissions", nargs="+", type=Path, metavar="SUBMISSION", help="a notebook or a folder"
    )
    for name, does in (
        ("--html", "write a page for people"),
        ("--csv", "write a sheet, a row a student"),
        ("--json", "write every mark"),
    ):
        parser.add_argument(name, type=Path, metavar="FILE", help=does)
    limits = Limits()
    parser.add_argument(
        "--seconds", type=float, default=limits.seconds, help="for a submission (%(default)g)"
    )
    megabytes = limits.memory_bytes / 1_000_000
    parser.add_argument("--memory-mb", type=float, default=megabytes, help="for a submission (%(default)g)")
    parser.add_argument("--jobs", type=int, help="how many side by side (one for each processor)")
    return parser.parse_args(arguments)
