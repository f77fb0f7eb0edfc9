"""The laboratory: what runs the experiments of the book and keeps their results."""
