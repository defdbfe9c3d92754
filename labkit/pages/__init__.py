"""HTML for reading: tables, and pages that are whole in themselves."""
