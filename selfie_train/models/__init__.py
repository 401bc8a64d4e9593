"""The networks, each built by a function (image shape, num_classes) -> nn.Module, for any image shape."""
