"""Music as text: the part of ABC that is read, its parser, and its picture on a staff."""
