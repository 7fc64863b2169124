"""One module for each family of formats: a file → its text, or a sentence that says why it has none."""
