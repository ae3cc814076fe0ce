"""What an instructor does with the chapters: run and normalise them, and hold them against the house rules.

    python -m labsupport notebooks            run every chapter and store it normalised
    python -m labsupport notebooks --check    run, compare the bytes, write nothing
    python -m labsupport notebooks --gates    what the house rules find in the stored pages
    python -m labsupport notebooks --report   how much of each chapter the tests compare

The gates are in gates/, one function each; the runs in notebooks.py, and what a stored page looks like in
normalise.py. What the course holds to be right, and what shows it: claims.json, read by ledger.py; that no
chapter states what is wrong: stated.py.
"""
