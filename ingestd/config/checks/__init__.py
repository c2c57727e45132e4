"""What a configuration must not say, each area in a module of its own; every problem is told at once."""
