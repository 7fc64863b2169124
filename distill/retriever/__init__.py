"""Stage 2: a retriever learns the ranker's scores."""
