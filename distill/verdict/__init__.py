"""Whether it got better: judged, reported, promoted, taken back."""
