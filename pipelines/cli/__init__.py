"""The command line: one file for each group of commands. It is the outermost layer; nothing imports it."""
