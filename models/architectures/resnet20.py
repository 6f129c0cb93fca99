"""ResNet-20 for CIFAR, with 16, 32 and 64 channels (He et al., CVPR 2016, section 4.2)."""

from models.architectures.residual import thin_build

build = thin_build("resnet20", depth=20)
