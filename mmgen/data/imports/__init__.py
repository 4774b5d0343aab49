"""From a folder of somebody's own to a data set of ours; start with `importer.import_data`."""
