"""A network without batch norm and dropout: what it says of a sample does not depend on its batch.

Run as a script it trains a config given as JSON, in every process that torchrun starts.
"""

import json
import sys

from torch import nn

from selfie_train import TrainConfig, register_model, train


@register_model("plain-net")
def plain_net(shape, num_classes):
    """One convolution and one linear layer."""
    channels, height, width = shape
    features = nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.Flatten())
    return nn.Sequential(features, nn.Linear(8 * height * width, num_classes))


if __name__ == "__main__":
    train(TrainConfig.from_json(json.loads(sys.argv[1])), quiet=True)
