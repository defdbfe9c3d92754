"""The book: a static site of the executed lessons and the docs, by Sphinx (`make site`)."""
