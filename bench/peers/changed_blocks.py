"""Compresses the extents of a changed-block map with LZ4, and puts them back.

changed_blocks.py pack IMAGE MAP OUT
changed_blocks.py unpack OUT IMAGE
"""
import json
import struct
import sys

import lz4.frame

HEADER = struct.Struct("<QI")
PIECE = 4 << 20


def pack(image, changed, out):
    with open(changed) as file:
        extents = json.load(file)
    with open(image, "rb") as source, open(out, "wb") as target:
        for extent in extents:
            start, left = extent["start"], extent["length"]
            source.seek(start)
            while left:
                plain = source.read(min(left, PIECE))
                packed = lz4.frame.compress(plain, compression_level=0)
                target.write(HEADER.pack(start, len(packed)))
                target.write(packed)
                start += len(plain)
                left -= len(plain)


def unpack(packed, image):
    with open(packed, "rb") as source, open(image, "r+b") as target:
        while header := source.read(HEADER.size):
            start, length = HEADER.unpack(header)
            target.seek(start)
            target.write(lz4.frame.decompress(source.read(length)))


if __name__ == "__main__":
    {"pack": pack, "unpack": unpack}[sys.argv[1]](*sys.argv[2:])
