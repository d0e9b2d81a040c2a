"""Training: the loop of epochs, stopping, validation, monitors, and the state between calls."""
