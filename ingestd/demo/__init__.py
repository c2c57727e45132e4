"""The main job shown end to end: load, daemon, live figures."""
