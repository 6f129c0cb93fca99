"""VGG-19 for 32x32 pixels (Simonyan and Zisserman, ICLR 2015, configuration E)."""

from models.architectures.vgg import vgg_build

build = vgg_build("vgg19", depth=19)
