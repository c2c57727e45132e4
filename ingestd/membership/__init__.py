"""The host's member of the consumer group; reads nothing."""
