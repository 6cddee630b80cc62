"""Training as a worker: takes jobs from the bus, makes artifacts, tells how far it is."""
