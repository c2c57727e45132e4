"""The process for what has no hurry: dead letters passed on, old keys forgotten. One across hosts a pipeline."""
