"""One module per table of measurements; `make bench TABLE=name` runs `python -m benchmarks.NAME`."""
