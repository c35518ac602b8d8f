"""Sources in the network: fetched into a cache, resumed, verified."""
