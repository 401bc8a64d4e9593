"""Default: plain cross entropy on the given labels."""

from selfie_train.methods.method import Method


class Default(Method):
    """Learn every given label as if it were right."""

    needs_scores = False
    needs_noise_rate = False
