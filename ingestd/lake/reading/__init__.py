"""Questions to a lake, as of one moment."""
