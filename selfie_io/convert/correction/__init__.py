"""Corrected copies of sources: what a review decided, in the form in which the source came."""
