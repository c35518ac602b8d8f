"""Decode once, crop, resize, select, apply the policy, write shards of pixels."""
