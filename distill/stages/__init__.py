"""The stages of a run: labelling, training, judging; each with a file in and a file out."""
