"""The lessons' diagrams, one file each, on a small canvas that refuses text which does not fit."""
