"""Panels for notebooks: views that own nothing."""
