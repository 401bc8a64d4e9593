"""The networks. Each is built by a function (picture shape, num_classes) -> nn.Module; any size and channels work."""
