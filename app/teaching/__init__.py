"""A retriever is taught from the page: the form → a plan → a job in a process of its own → what came of it."""
