"""The exercises of each chapter, one module a chapter: chapter_01.py holds EXERCISES for 1.1, 1.2, ….

An exercise comes with the wrong answers that learners give, each as a small function and the sentence that
names it. tests/teach proves for all of them that the reference passes and each mistake is called by its name.
"""
