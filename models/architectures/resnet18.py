"""ResNet-18 (He et al., CVPR 2016, table 1) with a stem for small images."""

from models.architectures.residual import four_stage_build

build = four_stage_build("resnet18", blocks=(2, 2, 2, 2))
