"""The data sets that we build, a file each, from pinned packages."""
