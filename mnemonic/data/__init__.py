"""Images and their labels: arrays, folders of files, named sources, splits."""
