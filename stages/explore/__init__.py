"""Tables about labels, partitions, identities and images."""
