"""The real core and shell of exec_risk on virtual time, against the venue's core, with faults."""
