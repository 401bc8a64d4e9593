"""From an encoded image to a checked record, in this process and in others."""
