"""The networks, each built by a function (picture shape, num_classes) -> nn.Module, for any picture shape."""
