"""Records on disk: layout, manifest, reading, atomic writing, checking."""
