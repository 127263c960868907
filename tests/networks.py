"""Small networks as other people write them, and classifiers made of them."""

import torch
from torch import nn

from lmac_td.classifiers.modules import ModuleClassifier
from lmac_td.features import SpectralFeatures

SAMPLE_RATE = 16000


class WaveformCnn(nn.Module):
    """Strided convolutions over the waveform, the mean over time, a linear layer."""

    def __init__(self, n_classes, channels=(4, 6, 8)):
        super().__init__()
        first, second, third = channels
        self.conv1 = nn.Conv1d(1, first, 32, stride=16)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv1d(first, second, 8, stride=4, padding=2)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv1d(second, third, 4, stride=5)
        self.relu3 = nn.ReLU()
        self.head = nn.Linear(third, n_classes)

    def forward(self, wavs):
        x = self.relu1(self.conv1(wavs.unsqueeze(1)))
        x = self.relu2(self.conv2(x))
        x = self.relu3(self.conv3(x))
        return self.head(x.mean(dim=2))


class ResidualBlock(nn.Module):
    """As torchvision's BasicBlock: one ReLU, in place, is used twice."""

    def __init__(self, in_channels, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, stride, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ImageCnn(nn.Module):
    """As torchvision's ResNet, narrow, over images (B, 1, frequency, time)."""

    def __init__(self, n_classes, channels=(4, 6, 8)):
        super().__init__()
        first, second, third = channels
        self.conv1 = nn.Conv2d(1, first, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = ResidualBlock(first, second, stride=1)
        self.layer2 = ResidualBlock(second, third, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(third, n_classes)

    def forward(self, images):
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer2(self.layer1(x))
        return self.fc(self.avgpool(x).flatten(1))


class SquareRootImage(nn.Module):
    """|STFT| (B, frames, bins) to the image |STFT|^0.5 (B, 1, bins, frames)."""

    def forward(self, magnitude):
        # The slope of a square root at 0 is infinite.
        return magnitude.clamp(min=1e-8).sqrt().transpose(1, 2).unsqueeze(1)


def square_root_features():
    """The STFT of the spectrogram classifier, 257 bins."""
    return SpectralFeatures(SAMPLE_RATE, n_fft=512, win_length=32, hop_length=16)


def waveform_classifier(n_classes=3, **settings):
    """A narrow CNN over waveforms, frozen, with two representations."""
    settings = {"representations": ["relu3", "relu2"]} | settings
    return ModuleClassifier(
        WaveformCnn(n_classes), SAMPLE_RATE, n_classes, **settings
    ).freeze()


def spectrogram_classifier(n_classes=3, **settings):
    """A narrow ResNet over |STFT|^0.5, frozen, with two representations."""
    settings = {"representations": ["layer2", "layer1"]} | settings
    return ModuleClassifier(
        ImageCnn(n_classes),
        SAMPLE_RATE,
        n_classes,
        front_end=SquareRootImage(),
        features=square_root_features(),
        **settings,
    ).freeze()


def noise(n_clips=2, n_samples=SAMPLE_RATE, seed=0):
    """Seeded noise (B, T)."""
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(n_clips, n_samples, generator=generator)
