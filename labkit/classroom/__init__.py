"""One engine for a class: a server that takes learners' jobs by turns."""
