"""Real records of a topic, read without a trace: tried on the table, or made into a configuration."""
