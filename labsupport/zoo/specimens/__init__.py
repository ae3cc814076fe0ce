"""The code as it was found: each file is short, reads like production code, and has one bug."""
