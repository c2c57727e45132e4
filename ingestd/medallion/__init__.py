"""From the raw change events of a bronze lake to typed stage tables and to the latest row of each key."""
