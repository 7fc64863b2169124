"""The page: upload a corpus, ask it, and compare the baseline retriever with the distilled one."""
