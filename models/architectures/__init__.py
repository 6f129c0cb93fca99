"""The architectures: ``build`` of a file makes the model of its name, ``BUILDS`` of a file those of a family.

``MEMBERS`` says in which file the members of the families are.
"""

MEMBERS = {
    **{f"resnet{depth}": "residual" for depth in (18, 20, 32, 34, 44, 56, 110, 1202)},
    **{f"vgg{depth}": "vgg" for depth in (11, 13, 16, 19)},
}
