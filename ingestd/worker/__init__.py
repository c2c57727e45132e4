"""A lease on partitions: read ahead, write, commit, recover."""
