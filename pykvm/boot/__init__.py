"""Guest images: one file per kind; each yields a plain "what to load and where to start" value."""
