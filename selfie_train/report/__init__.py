"""HTML reports that need no other file: tables, curves and pictures, for light and dark screens."""
