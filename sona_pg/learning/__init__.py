"""Pure mathematics of learning: NumPy and the compiled kernels, no database and no clock."""
