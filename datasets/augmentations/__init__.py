"""Augmentations of training images, by file name: ``augmentation.name = "crop-flip"`` is ``crop_flip.py``.

A module has one function ``augment(inputs, generator, *, ...)``, from a batch of raw images ``(samples,
channels, height, width)`` to another; its keyword parameters can be set as ``augmentation.<parameter>``.
All randomness comes from the generator, which is on the device of the images.
"""
