"""The LLM: connected, asked many things at once, remembered, paid for."""
