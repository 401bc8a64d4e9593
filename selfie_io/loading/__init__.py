"""From record files to batches of tensors: options, order, backends, the Loader."""
