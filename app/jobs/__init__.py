"""Long work in processes that outlive the page: teaching."""
