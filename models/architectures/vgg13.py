"""VGG-13 for 32x32 pixels (Simonyan and Zisserman, ICLR 2015, configuration B)."""

from models.architectures.vgg import vgg_build

build = vgg_build("vgg13", depth=13)
