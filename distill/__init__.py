"""Intermediate Distillation (arXiv 2406.12169): an LLM's order → a ranker → a retriever."""
