"""What happens when somebody does something on the page: plain values in, a NamedTuple of updates out."""
