"""What an instructor does with the chapters: run and normalise them, and hold them against the house rules.

python -m labsupport notebooks            run every chapter and store it normalised
python -m labsupport notebooks --check    run, compare the bytes, write nothing
python -m labsupport notebooks --report   how much of each chapter the tests compare
"""
