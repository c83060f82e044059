"""`pix2pix serve`: a model as an HTTP service, with a page to draw on."""
