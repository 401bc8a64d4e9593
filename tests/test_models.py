"""The networks: parameter counts of the papers, any image size, gradients; airnet's stem; timm."""

import sys
from types import ModuleType

import pytest
import torch

from selfie_train.config import TrainConfig
from selfie_train.models.airnet import BIAS_SCALE, NORM_MOMENTUM, Norm, airnet
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
        ("resnet-18", (3, 32, 32), 10, 11_173_962),
        ("resnet-34", (3, 32, 32), 10, 21_282_122),
        ("preact-resnet-18", (3, 32, 32), 10, 11_171_146),
        ("resnet-18", (3, 224, 224), 1000, 11_689_512),  # ImageNet's, as torchvision counts it
        ("resnet-34", (3, 224, 224), 1000, 21_797_672),
        ("airnet", (3, 32, 32), 10, 568_728),
        ("airnet-small", (3, 32, 32), 10, 294_360),
        ("airnet-wide", (3, 32, 32), 10, 1_971_352),
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


AIRNETS = ["airnet", "airnet-small", "airnet-wide"]


@pytest.mark.parametrize("name", ["airnet", "resnet-18", "preact-resnet-18"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 33, 17), (2, 64, 70), (3, 224, 224)])
def test_the_newer_networks_take_any_size(name, shape):
    torch.manual_seed(0)
    network = model_builder(name)(shape, 2)
    logits = network(torch.randn(2, *shape))
    assert logits.shape == (2, 2)
    logits.square().sum().backward()
    for parameter in network.parameters():
        assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("name", AIRNETS)
def test_airnet_says_which_images_are_too_small(name):
    with pytest.raises(ValueError, match=r"at least 8x8 pixels, got 7x32: use --model convnet"):
        model_builder(name)((3, 7, 32), 10)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 64, 64), (2, 96, 96)])
def test_airnets_stem_whitens_what_it_was_made_from(shape):
    torch.manual_seed(0)
    network = airnet(shape, 3)
    images = torch.nn.functional.avg_pool2d(torch.randn(200, *shape), 3, 1, 1) * 4  # neighbours look alike
    network.prepare(images)
    patches = torch.nn.functional.conv2d(images, network.whitening, stride=network.stride)
    rows = patches.transpose(0, 1).flatten(1).double()
    second_moments = rows @ rows.T / rows.shape[1]
    torch.testing.assert_close(second_moments, torch.eye(len(rows), dtype=torch.float64), atol=0.02, rtol=0)
    again = airnet(shape, 3)
    again.prepare(images.clone())
    assert torch.equal(network.whitening, again.whitening)
    assert "whitening" in network.state_dict()
    assert "whitening" not in dict(network.named_parameters())


def test_airnets_stem_refuses_pixels_that_are_not_finite():
    with pytest.raises(ValueError, match="must be finite"):
        airnet((1, 8, 8), 2).prepare(torch.full((2, 1, 8, 8), float("nan")))
    flat = airnet((1, 8, 8), 2)
    flat.prepare(torch.zeros(2, 1, 8, 8))  # constant images: nothing to whiten, but no error
    assert torch.isfinite(flat.whitening).all()


def test_airnets_norm_is_batch_norm_with_a_fast_bias():
    torch.manual_seed(0)
    norm, usual = Norm(5), torch.nn.BatchNorm2d(5, momentum=NORM_MOMENTUM)
    with torch.no_grad():
        norm.offset.copy_(torch.randn(5))
        usual.bias.copy_(norm.offset * BIAS_SCALE)
    features = torch.randn(6, 5, 4, 4)
    for _ in range(2):
        torch.testing.assert_close(norm(features), usual(features))
    norm.eval(), usual.eval()
    torch.testing.assert_close(norm(features), usual(features))
    norm.train(), usual.train()
    (norm(features) * torch.arange(16.0).view(4, 4)).sum().backward()
    (usual(features) * torch.arange(16.0).view(4, 4)).sum().backward()
    torch.testing.assert_close(norm.offset.grad, BIAS_SCALE * usual.bias.grad)


class StubTimm(ModuleType):
    """What `timm:NAME` uses of timm, which needs a torchvision beside it: one network of one size or any."""

    def __init__(self, sized):
        super().__init__("timm")
        self.sized = sized

    def is_model(self, name):
        return name == "tiny_net"

    def list_models(self, pattern):
        return ["tiny_net"] if pattern == "*tiny*" else []

    def create_model(self, name, *, pretrained, in_chans, num_classes, **options):
        assert name == "tiny_net"
        assert not pretrained
        if bool(options) != self.sized:
            raise TypeError("img_size")
        if options and options["img_size"][0] < 4:
            raise AssertionError("the image is smaller than a patch")
        return torch.nn.Sequential(
            torch.nn.Conv2d(in_chans, 4, 4),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
            torch.nn.Linear(4, num_classes),
        )


@pytest.mark.parametrize("sized", [False, True])
def test_timm_networks_go_by_their_name(monkeypatch, sized):
    monkeypatch.setitem(sys.modules, "timm", StubTimm(sized))
    network = model_builder("timm:tiny_net")((2, 9, 8), 5)
    assert network.training
    assert network(torch.randn(3, 2, 9, 8)).shape == (3, 5)
    with pytest.raises(ValueError, match=r"cannot take images of 1x3x3: .*another --size"):
        model_builder("timm:tiny_net")((1, 3, 3), 5)
    with pytest.raises(ValueError, match=r"got 'tiny_nut'.*'tiny'.*tiny_net"):
        model_builder("timm:tiny_nut")
    assert TrainConfig("data", model="timm:tiny_net").model == "timm:tiny_net"
    with pytest.raises(ValueError, match=r"timm:NAME; got 'timm:'"):
        TrainConfig("data", model="timm:")


def test_timm_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"pip install 'selfie-io\[timm\]'"):
        model_builder("timm:resnet18")
