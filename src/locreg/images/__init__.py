"""Reads image files, folders and tar files into arrays and patches, and writes arrays to files.

`image_file` reads and writes one image file, `sources` lists the images of folders and tar files,
`archives` reads tar files, and `files` writes any file safely. `patches` cuts random patches out of
many images. `metrics` compares two images.
"""
