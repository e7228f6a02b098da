"""MATLAB files of version 5, which scipy reads; those of 7.3 are HDF5."""

import zlib

from scipy.io.matlab import MatReadError

# What scipy raises for a .mat file that is cut off, is of version 7.3 (HDF5), or is none.
MAT_ERRORS = (OSError, ValueError, TypeError, LookupError, NotImplementedError, MatReadError, zlib.error)
