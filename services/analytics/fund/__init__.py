"""The fund's layers: round by round, in the one replica that holds their lease."""
