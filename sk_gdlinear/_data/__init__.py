"""The rows: validated, in blocks and in order, their statistics, and the change of variables."""
