"""Watching a guest: typed events, who records them, and how they are shown."""
