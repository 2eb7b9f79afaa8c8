"""The codec inside other libraries.  Importing one of these modules registers it there.

pillow      Image.open and Image.save for .calo files
zarr        a serializer of zarr 3
numcodecs   a codec for the chunks of zarr arrays of format 2
"""
