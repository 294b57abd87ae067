"""Published corpora with a documented layout: one small file each, from the folder as it is downloaded to clips."""
