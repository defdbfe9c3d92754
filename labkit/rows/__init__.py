"""The user's rows → requests; responses → answers. No engine here."""
