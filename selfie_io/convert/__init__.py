"""selfie-convert: data sets of the field to record files and back."""
