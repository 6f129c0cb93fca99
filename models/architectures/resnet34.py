"""ResNet-34 (He et al., CVPR 2016, table 1) with a stem for small images."""

from models.architectures.residual import four_stage_build

build = four_stage_build("resnet34", blocks=(3, 4, 6, 3))
