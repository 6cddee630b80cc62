"""The fund's policy: a row per version, its copy on the bus, its facts."""
