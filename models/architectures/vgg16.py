"""VGG-16 for 32x32 pixels (Simonyan and Zisserman, ICLR 2015, configuration D)."""

from models.architectures.vgg import vgg_build

build = vgg_build("vgg16", depth=16)
