"""What a finished run is used for: predictions, figures of a data set, files for other programs."""
