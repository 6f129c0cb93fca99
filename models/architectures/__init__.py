"""The architectures: a file's ``build`` makes the model of its name, its ``BUILDS`` the models of a family.

``MEMBERS`` maps the members of families to their files.
"""

MEMBERS = {
    **{f"resnet{depth}": "residual" for depth in (18, 20, 32, 34, 44, 56, 110, 1202)},
    **{f"vgg{depth}": "vgg" for depth in (11, 13, 16, 19)},
}
