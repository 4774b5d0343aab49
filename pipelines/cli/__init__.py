"""The command line: one file a group of verbs. The outermost layer, imported by nobody."""
