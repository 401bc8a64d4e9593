"""The networks: parameter counts of the paper's, any image size, gradients everywhere."""

import pytest
import torch

from selfie_train.models.builder import model_builder
from selfie_train.models.densenet import densenet
from selfie_train.registry import known_names


def num_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "num_classes", "expected"),
    [
        ("densenet-10-12", (3, 32, 32), 10, 37_762),
        ("densenet-25-12", (3, 32, 32), 10, 362_242),
        ("densenet-25-12", (3, 32, 32), 100, 386_452),
        ("densenet-25-12", (3, 64, 64), 200, 413_352),
        ("densenet-40-12", (3, 32, 32), 10, 1_019_722),
        ("vgg-19", (3, 32, 32), 10, 38_975_306),
        ("vgg-19", (3, 64, 64), 200, 46_045_192),
    ],
)
def test_parameter_counts(name, shape, num_classes, expected):
    with torch.device("meta"):
        network = model_builder(name)(shape, num_classes)
    assert num_parameters(network) == expected


@pytest.mark.parametrize("name", ["convnet", "densenet-10-12", "vgg-19"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 33, 17), (2, 1, 1)])
def test_any_image_size_gives_logits_and_gradients(name, shape):
    torch.manual_seed(0)
    network = model_builder(name)(shape, 7)
    logits = network(torch.randn(4, *shape))
    assert logits.shape == (4, 7)
    logits.square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


def test_densenet_starts_with_the_spread_of_its_fan_out():
    torch.manual_seed(0)
    convs = [
        module for module in densenet(40, (3, 32, 32), 10).modules() if isinstance(module, torch.nn.Conv2d)
    ]
    assert len(convs) == 39
    for conv in convs:
        expected = (2 / (conv.out_channels * conv.kernel_size[0] ** 2)) ** 0.5
        assert conv.weight.std().item() == pytest.approx(expected, rel=0.15)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match=r"model must be one of .*convnet.*; got 'resnet'"):
        model_builder("resnet")
    with pytest.raises(ValueError, match=r"3 n \+ 4.*got 11"):
        densenet(11, (3, 32, 32), 10)
    assert "convnet" in known_names("model")
