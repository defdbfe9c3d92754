"""What this computer has."""
