"""What an entry is measured by: sizes, exposure, leverage and the account's own results."""
