"""The questions that teach: read, asked by live users, or written by the LLM."""
