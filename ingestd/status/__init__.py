"""Web page, JSON, /metrics and probes, all read from the board."""
