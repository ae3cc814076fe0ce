"""What is done with each specimen: a run, its promises, a fix, wrong fixes and the picture."""
