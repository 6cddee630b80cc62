"""What fills, funding and the exchange's own words make of the account."""
