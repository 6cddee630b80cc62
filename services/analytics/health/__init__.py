"""The health of every service and part: seen, told, healed."""
