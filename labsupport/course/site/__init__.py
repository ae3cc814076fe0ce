"""The whole course as static pages: readable without a kernel, without a network, in both themes, on a phone.

    python -m labsupport site [DIR]             build it (build/site without DIR)
    python -m labsupport site --answers [DIR]   with the worked answers, for instructors

Sphinx with MyST-NB and the Furo theme do the work. What stands here is what they can't know: which pages
there are (build.py), formulas without a script from elsewhere (extension.py), the two themes of our figures
(lab.css), and a look at every link of the finished pages (links.py).
"""
