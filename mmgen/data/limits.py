"""What one sample may be: the same for an import, which leaves others out, and for validation, which refuses them."""

from __future__ import annotations

SIDE = (8, 4096)
"""Smallest and largest width and height of a picture in pixels."""
CHARACTERS = (1, 400)
"""Shortest and longest caption."""
FLAT = 0.5
"""Pictures whose values spread less than this (standard deviation, 0 to 127) show nothing."""
LENGTHS = {"sound": (0.05, 60.0, "seconds"), "video": (2, 500, "frames"), "music": (20, 65536, "bytes")}
"""Shortest and longest sound, video and tune."""
SPLIT_MINIMUM = 20
GROUP_MINIMUM = 10
"""Training samples of each group that any split has: less cannot be learned."""
NEAR = 5.0
"""Two pictures are copies when their 16 x 16 thumbnails differ by less than this (root mean square, 0 to 255).

Measured on 328 pictures of `emoji`: 99 in 100 JPEG copies of quality 90 lie below 4.2 and a change of brightness
by 1 % at most at 3.0, a shift by one pixel at 11. The nearest honest pair of two splits of `emoji` (a bald man and
a bald person) lies at 6.4, of `digits` (two ones) at 7.8.
"""
