"""Files that keep values: the thread that writes one, its codec, its signing key, its permissions."""
