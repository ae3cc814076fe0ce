"""What a chapter teaches with: figures, sliders, predictions, quizzes, comparisons, exercises, clients.

from labsupport.teach import compare, explore, label_line, look, new, predict, quiz, show, slider
"""

from labsupport.teach.browser import run_in_browser
from labsupport.teach.browser_streams import browser_streams
from labsupport.teach.compare import compare
from labsupport.teach.exercise import check, exercise
from labsupport.teach.figures import label_line, look, new, note, show
from labsupport.teach.live import Live, explore, slider
from labsupport.teach.predict import predict
from labsupport.teach.quiz import quiz
from labsupport.teach.theme import MARK, PALETTE
from labsupport.teach.timeline import Arrow, Gap, Held, Mark, network_timeline, poll, sequence

__all__ = [
    "MARK", "PALETTE", "Arrow", "Gap", "Held", "Live", "Mark", "browser_streams", "check", "compare",
    "exercise", "explore", "label_line", "look", "network_timeline", "new", "note", "poll", "predict", "quiz",
    "run_in_browser", "sequence", "show", "slider",
]  # fmt: skip
