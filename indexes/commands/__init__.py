"""The commands of python -m indexes, by what they serve; those of python -m distill share options and console."""
