"""Stage 1: a ranker learns the teacher's orders."""
