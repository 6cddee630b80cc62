"""The words that all cores share. Pure: values and arithmetic, no I/O, no clock."""
