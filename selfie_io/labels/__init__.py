"""Label noise, label overlays and label history."""
