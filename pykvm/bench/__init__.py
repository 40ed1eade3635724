"""The measurements behind ``pykvm bench``: each prints a table, or JSON with the same figures."""
