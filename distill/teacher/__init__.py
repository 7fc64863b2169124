"""The teacher: an LLM's order of passages, taken honestly."""
