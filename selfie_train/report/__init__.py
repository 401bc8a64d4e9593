"""HTML reports that need no other file: tables, curves and images, for light and dark screens."""
