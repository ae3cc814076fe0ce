"""Grade submissions: each in a process of its own, with limits, on cases that the student has not seen.

    python -m labsupport grade SUBMISSION… [--html FILE] [--csv FILE] [--json FILE]

A SUBMISSION is a notebook, or a folder: one student's notebooks, or one folder for each student. Of a
notebook only the answers are run, with what they need (slicing.py): no server of the chapter is started, and
a check cell that a student has edited is not even looked at. A submission that can't be read, stops, loops or
takes too much memory gets a sentence in the table, and the others are graded all the same.

The limits keep an accident away from the machine that grades. They are no sandbox: an answer runs as the
user who grades it. Where you don't trust the class, grade in a container.
"""

from labsupport.course.grading.chapters import Question, questions
from labsupport.course.grading.grading import Limits, grade, grade_class
from labsupport.course.grading.submissions import Submission, find
from labsupport.course.grading.table import Mark, Report

__all__ = ["Limits", "Mark", "Question", "Report", "Submission", "find", "grade", "grade_class", "questions"]
