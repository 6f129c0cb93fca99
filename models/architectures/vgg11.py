"""VGG-11 for 32x32 pixels (Simonyan and Zisserman, ICLR 2015, configuration A)."""

from models.architectures.vgg import vgg_build

build = vgg_build("vgg11", depth=11)
