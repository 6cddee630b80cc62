"""Steps at which a drill ends or freezes the process."""
