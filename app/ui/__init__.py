"""The layout of the page: one file for each tab, and the one panel that they share."""
