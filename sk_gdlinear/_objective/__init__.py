"""The objective: its derivation, losses, penalties, and its value over rows of data."""
