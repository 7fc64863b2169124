"""The commands of python -m distill, by what they serve."""
