"""What makes the CPU fast, and what goes around its faults."""
