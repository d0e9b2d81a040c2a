"""Fits on arrays of other libraries, such as PyTorch tensors on a GPU, which stay where they are.

Rows are read in blocks on their device.  What a descent keeps besides, parameters, statistics of columns and the matrix
of second moments, is small: it comes to NumPy in float64, and the loop, the methods and the models of the rest of the
package work on it as they do for NumPy's own arrays.
"""
