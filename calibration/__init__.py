"""INT8 ranges and the choice of eta. The room is reserved: nothing is calibrated here yet, and no command claims to."""
