"""What is observed: each module turns lifecycle signals into logs or the like."""
