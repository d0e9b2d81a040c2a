"""Mini-batch gradient descent over rows in memory."""
