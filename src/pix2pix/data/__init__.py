"""Image files to batches of tensors.

pairing       file names -> named pairs in splits, without torch and numpy
io            image files <-> arrays
encoding      arrays <-> channels in [-1, 1]
transforms    random augmentations of a pair, padding
loading       pairs -> batches
checks        inspection of a data set before training
preparation   data sets from photos and from the web
"""
