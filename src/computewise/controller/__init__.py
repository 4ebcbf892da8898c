"""The controller: after every draw it decides whether to draw again, by which arm, or to stop."""
