"""Augmentations of training images, by file name: ``augmentation.name = "crop-flip"`` is ``crop_flip.py``.

A module has one function ``augment(inputs, generator, *, ...)``, from a batch of raw images ``(samples,
channels, height, width)`` to another; its keyword parameters are what ``augmentation.<parameter>`` may set.
All randomness comes from the generator, which is on the device of the images.
"""
